"""Every private interface of Beam and botocore that lanser depends on, in one place.

Each is here because the public interface lacks something; each function says what. tests/lanser_ops/test_beam_compat.py
fails if an upgrade of Beam changes one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any, cast

from apache_beam.internal import cloudpickle_pickler
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PrismRunnerOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability import prism_runner
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from apache_beam.utils import retry

from lanser_ops import worker_process
from lanser_ops.common.device import visible_gpus

__all__ = ["ModelHandler", "PipelineRunner", "RunInference"]

# Loggers that print the traces of an error that ends the job, which the command itself reports in one line.
TRACE_LOGGERS = (
    *("apache_beam.runners.common", "apache_beam.runners.portability", "apache_beam.runners.worker"),
    *("distributed", "distributed.client"),
)
# Beam's names of the threads that serve a worker process.
WORKER_THREADS = frozenset({"run_worker", "beam_control_read", "read_grpc_client_inputs"})
WORKER_DIED = "Channel closed prematurely"
# The clients of this thread by the scheme of their store, each with what it was created for: neither Google nor Amazon
# promises that threads can share one.
_clients = threading.local()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let imports of torch fail during the block, unless it is loaded already."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own mark for a module that must not be imported
    try:
        yield
    finally:
        del sys.modules["torch"]


# Beam's model manager imports torch, if it is installed, to measure GPU memory. lanser does not use the manager, and
# recognition, which comes first in a job, needs no torch: without it a job and each of its workers start 1.2 s sooner.
with _without_torch():
    from apache_beam.ml.inference.base import ModelHandler, RunInference


def direct_runner(options: PipelineOptions, workers: int, verbose: bool) -> fn_runner.FnApiRunner:
    """Beam's direct runner with ``workers`` processes.

    The public name ``DirectRunner`` first looks for a Prism binary, which it would download. And its worker processes
    print the trace of every error; with a command line of their own, their stderr can be discarded, and each gets one
    of several GPUs.
    """
    environment = None
    if workers > 1:
        direct = options.view_as(DirectOptions)
        direct.direct_num_workers = workers
        direct.direct_running_mode = "in_memory"  # which leaves the environment as it is given
        gpus = visible_gpus()
        program = [worker_process.__name__, *gpus] if len(gpus) > 1 else [worker_process.WORKER_MODULE]
        command = shlex.join([sys.executable, "-m", *program]) + ("" if verbose else f" 2>{os.devnull}")
        environment = SubprocessSDKEnvironment.from_command_string(command)
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(environment, provision_info=fn_runner.ExtendedProvisionInfo(info))


def find_prism(options: PipelineOptions) -> None:
    """Find Prism's binary, or download it where --prism_location does not name a file, and make that its location.

    Raises RuntimeError, ValueError or OSError where there is none: of Beam's own attempt, no type tells what failed.
    """
    location = prism_runner.PrismJobServer(options)._get_executable_path()
    options.view_as(PrismRunnerOptions).prism_location = location


def pickle_relative_paths() -> None:
    """Keep this machine's paths out of what Beam pickles: it would store each lambda with the path of its file."""
    config: Any = cloudpickle_pickler.DEFAULT_CONFIG
    config.filepath_interceptor = cloudpickle.get_relative_path


def known_flags(parser: argparse.ArgumentParser) -> None:
    """Add every option that Beam knows to ``parser``: Beam itself drops a mistyped one silently."""
    for options in PipelineOptions.__subclasses__():
        try:
            options._add_argparse_args(cast(Any, parser))
        except argparse.ArgumentError:
            continue


def filesystem_options() -> PipelineOptions:
    """The options of Beam's filesystems, set to empty ones if none were set: its S3 filesystem accepts no None."""
    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))
    return cast(PipelineOptions, FileSystems._pipeline_options)


def skip_google_credentials() -> None:
    """Let Beam's GCS client go without credentials.

    It has no option for that: it looks for them, for half a minute if there are none. This is its own mark for having
    looked and found none.
    """
    auth._Credentials._credentials_init = True


def share_botocore_loader() -> None:
    """Let all S3 clients share one loader of Amazon's service descriptions.

    Beam makes a client for every call, and each reads the description of S3 again: 0.1 s of a core. A loader caches
    what it has read, so with a shared one it is 0.02 s.
    """
    import botocore.loaders
    import botocore.session

    botocore.session.create_loader = cache(botocore.loaders.create_loader)


def share_google_clients() -> None:
    """Let the calls of a thread share one GCS client.

    Beam makes a client for every call. A new one has to connect, and asks for the metadata of its bucket besides.
    """
    from apache_beam.io.gcp import gcsio

    create = inspect.unwrap(gcsio.create_storage_client)

    @wraps(create)
    def create_once(pipeline_options: PipelineOptions, use_credentials: bool = True) -> Any:
        return _client("gs" if use_credentials else "gs anonymous", pipeline_options, create, use_credentials)

    gcsio.create_storage_client = create_once


def _client(name: str, options: PipelineOptions, create: Callable[..., Any], *arguments: object) -> Any:
    """The client ``name`` of this thread, created with ``options`` and ``arguments`` where there is none for them."""
    purpose = (os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))
    stored = getattr(_clients, name, None)
    if stored is None or stored[0] != purpose or stored[1] is not options:
        stored = purpose, options, create(options, *arguments)
        setattr(_clients, name, stored)
    return stored[2]


def read_google_range(path: str, first: int, last: int) -> bytes:
    """The bytes from ``first`` to ``last``, both included, or to the end of the file, with one request.

    Beam's own reader asks for the metadata before the content. Raises the errors of Google's client.
    """
    from apache_beam.io.gcp import gcsio, gcsio_retry
    from google.api_core.exceptions import RequestRangeNotSatisfiable

    options = filesystem_options()
    bucket, name = gcsio.parse_gcs_path(path)
    blob = gcsio.create_storage_client(options).bucket(bucket).blob(name)
    try:  # as the file is stored, like Beam's reader
        return blob.download_as_bytes(
            start=first, end=last, raw_download=True, checksum=None, retry=gcsio_retry.get_retry(options)
        )
    except RequestRangeNotSatisfiable:  # it ends before
        return b""


@retry.with_exponential_backoff(retry_filter=retry.retry_on_server_errors_and_timeout_filter)
def read_amazon_range(path: str, first: int, last: int) -> bytes:
    """`read_google_range` for s3://. Raises Beam's S3ClientError."""
    from apache_beam.io.aws import s3io
    from apache_beam.io.aws.clients.s3 import boto3_client, messages
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, name = s3io.parse_s3_path(path)
    client = _client("s3", filesystem_options(), boto3_client.Client).client
    try:
        return client.get_object(Bucket=bucket, Key=name, Range=f"bytes={first}-{last}")["Body"].read()
    except (BotoCoreError, ClientError) as error:
        status = boto3_client.get_http_error_code(error)
        if status == 416:  # it ends before
            return b""
        raise messages.S3ClientError(str(error), status) from None


def quiet_beam(verbose: bool) -> None:
    """Keep Beam's own log off the screen unless ``verbose``: it logs every bundle at INFO, and its warnings concern
    its own modules, not the user's data."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if verbose else logging.ERROR)
    if verbose:
        root.removeFilter(_is_not_from_job_service)
    else:
        root.addFilter(_is_not_from_job_service)
    for name in TRACE_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.CRITICAL)
    threading.excepthook = threading.__excepthook__ if verbose else _except_worker_threads


def _is_not_from_job_service(record: logging.LogRecord) -> bool:
    """What a job service sends is logged by the root logger; the last error of it is also what ends the job."""
    return record.module != "portable_runner"


def _except_worker_threads(failed: threading.ExceptHookArgs) -> None:
    """Leave out what each of Beam's threads prints when its worker has died: that its channel is closed."""
    if failed.thread is None or failed.thread.name not in WORKER_THREADS:
        threading.__excepthook__(failed)
