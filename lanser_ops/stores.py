"""Object stores (gs://, s3://) through Beam's filesystems.

What may pass (a store that is busy, a connection that breaks) is retried by the clients themselves, for two minutes
and more; what gets through to here is final. Errors are the same for all stores: FileNotFoundError where there is no
such file or bucket, InputError where the store denies access, since that is no fault of one file. Other errors stay
as the clients raise them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options

from lanser_ops import beam_compat
from lanser_ops.common.errors import InputError


def set_options(options: PipelineOptions) -> None:
    """Give this process the stores' options (``--s3_endpoint_url``, ``--no_auth``, …); Beam passes them to its workers.

    Without a call, and in commands that run no pipeline, the stores take their options from the environment.
    """
    FileSystems.set_options(options)
    _connect.cache_clear()


@cache
def _connect(scheme: str) -> None:
    """Configure the clients of a store once per process. Raises InputError for a store that cannot be used."""
    options = beam_compat.filesystem_options()
    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except ValueError:
        raise InputError(
            f"{scheme}://: no filesystem for that; pip install 'lanser[gcp]' for gs://, 'lanser[aws]' for s3://"
        ) from None
    if scheme == "gs":
        if os.environ.get("STORAGE_EMULATOR_HOST") or options.view_as(GoogleCloudOptions).no_auth:
            beam_compat.skip_google_credentials()
        beam_compat.share_google_clients()
    if scheme == "s3":
        _connect_s3(options.view_as(S3Options))


def _connect_s3(options: S3Options) -> None:
    try:
        import boto3
    except ModuleNotFoundError:
        raise InputError("s3://: Amazon's client is not installed; pip install 'lanser[aws]'") from None
    beam_compat.share_botocore_loader()
    # Without credentials Beam retries for ten minutes, as if they might appear.
    if not options.s3_access_key_id and boto3.session.Session().get_credentials() is None:
        raise InputError(
            "s3://: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or give --s3_access_key_id and --s3_secret_access_key"
        )


@contextlib.contextmanager
def translated_errors(path: str) -> Iterator[None]:
    """Raise errors of the block, which concerns ``path``, in the terms of this module."""
    _connect(path.partition("://")[0])
    try:
        yield
    except Exception as error:
        cause: object = error
        while details := getattr(cause, "exception_details", None):  # a BeamIOError holds the client's own errors
            cause = next(iter(details.values()))
        status = _http_status(cause)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, "no such file or bucket", path) from None
        if status in (401, 403):
            message = " ".join(str(cause).split())[:200]
            raise InputError(
                f"{path}: permission denied; let the account that runs this list, read, write and delete there "
                f"({message})"
            ) from None
        raise


def _http_status(error: object) -> int | None:
    """The status in a client's error, which Beam's batches reduce to the number alone; None where there is none."""
    code = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", error))
    if code == "AccessDenied":  # of a key in one of S3's batches
        return 403
    return int(code) if isinstance(code, int) else None


def match_glob(pattern: str) -> dict[str, int]:
    """Size in bytes of every file that matches ``pattern``."""
    if "/" not in pattern.partition("://")[2]:
        return {}  # a bucket, which is no file
    try:
        with translated_errors(pattern):
            (result,) = FileSystems.match([pattern])
    except FileNotFoundError:
        return {}
    return {metadata.path: metadata.size_in_bytes for metadata in result.metadata_list}


def exists(path: str) -> bool:
    with translated_errors(path):
        return FileSystems.exists(path)


def checksum(path: str) -> str:
    """What the store knows of a file's content: CRC-32C on gs://, ETag on s3://."""
    with translated_errors(path):
        return str(FileSystems.checksum(path))


def open_read(path: str) -> BinaryIO:
    """Open for reading, bytes as they are (Beam would unpack ``.gz`` by its name)."""
    with translated_errors(path):
        return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read_range(path: str, offset: int, size: int) -> bytes:
    """Up to ``size`` bytes from ``offset`` on, fewer where the file ends, with one request."""
    if not size:
        return b""
    read = beam_compat.read_google_range if path.startswith("gs://") else beam_compat.read_amazon_range
    with translated_errors(path):
        return read(path, offset, offset + size - 1)


@contextlib.contextmanager
def renamed_writer(temporary: str, final: str) -> Iterator[BinaryIO]:
    """A stream to ``temporary``, which becomes ``final`` when the block ends without an error."""
    with translated_errors(final):
        stream = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        yield stream
        with translated_errors(final):
            stream.close()
            FileSystems.rename([temporary], [final])
    except BaseException:
        with contextlib.suppress(Exception):
            stream.__exit__(*sys.exc_info())  # Google's client cancels the upload; close() would finish it
        with contextlib.suppress(Exception):
            FileSystems.delete([temporary])
        raise


def delete_files(paths: list[str]) -> None:
    with translated_errors(paths[0]):
        FileSystems.delete(paths)
