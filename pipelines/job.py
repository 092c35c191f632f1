"""One Beam job over the work units: what is done before it, how it is run, and what is done after."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import apache_beam as beam
from apache_beam.internal import cloudpickle_pickler
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from lanser_ops import (
    accounts,
    attempts,
    dataset,
    models,
    relabel,
    report,
    resume,
    scores,
    storage,
)
from lanser_ops.errors import InputError
from lanser_ops.handlers import Worker
from lanser_ops.plan import PLAN_FILE, encode_plan, make_plan, read_units
from lanser_ops.progress import watch
from lanser_ops.relabel import ShardSource
from lanser_ops.sources import read_sources
from lanser_ops.unit_run import UnitRun
from pipelines.checks import check_order, check_origin, check_places
from pipelines.graph import Stages, add_stages
from pipelines.options import RunOptions, is_described_only, is_direct, runs_elsewhere

TRACES = ("apache_beam.runners.common", "apache_beam.runners.portability", "apache_beam.runners.worker")
# Beam's names of the threads that serve a worker process.
CHANNELS = frozenset({"run_worker", "beam_control_read", "read_grpc_client_inputs"})


def run_job(wanted: Stages, options: RunOptions, test_pipeline: beam.Pipeline | None = None) -> None:
    """Plan where needed, run what is not done yet, write the accounts, say what came out."""
    quiet(options.verbose)
    output = options.output
    if runs_elsewhere(options.beam):
        check_places(wanted, output)
        # Beam pickles its own lambdas with the path of their file: below sys.path is enough for a trace.
        cloudpickle_pickler.DEFAULT_CONFIG.filepath_interceptor = cloudpickle.get_relative_path
    try:
        storage.check_writable(output)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written to ({_reason(error)})") from None
    before = dataset.read_dataset(output)
    taxonomy = wanted.label.taxonomy.name if wanted.label else None
    check_origin(output, wanted, before)
    source = relabel.read_source(wanted.shards, output) if wanted.shards else None
    sections, plan = _sections(wanted, output, taxonomy, source)
    check_order(output, wanted, before, taxonomy)
    content = resume.merge(resume.check(output, before, sections, options.overwrite), sections)
    if options.overwrite:
        attempts.clear(output)
    if plan is not None:
        storage.write_bytes(output, PLAN_FILE, plan)
    dataset.write_dataset(output, content)
    runs = [UnitRun(tar.unit, tar) for tar in source.tars] if source else list(map(UnitRun, read_units(output)))
    units = [run.unit for run in runs]
    for rule, sentences in source.stored if source else ():
        scores.add_set(output, rule, sentences)
    sets = scores.needed_sets(output, wanted.label) if wanted.label and wanted.score else ()
    done = resume.finished(output, units, wanted.names, taxonomy, sets)
    for line in [*_bundled_lines(wanted), *done.lines()]:
        print(line, flush=True)
    attempts.forget_interrupted(output)
    roots = () if source else tuple(content["plan"]["roots"])
    asr_model = "" if source else content["transcribe"]["asr_model"]["id"]
    worker = Worker(output, roots, options.device, options.threads)
    start = time.monotonic()
    with (
        _ended_early(output),
        watch(output, units, wanted.names[-1], taxonomy),
        test_pipeline or beam.Pipeline(runner=_runner(options), options=options.beam) as pipeline,
    ):
        add_stages(pipeline, runs, _as_workers_see(wanted), sets, done, worker, asr_model, options.hints) | (
            "WriteAccounts" >> beam.Map(_write_accounts, output=output, content=content, taxonomy=taxonomy)
        )
    if is_described_only(options.beam):
        print("the job is described, not run")
    else:
        report.print_closing_lines(output, taxonomy, time.monotonic() - start)


@contextlib.contextmanager
def _ended_early(output: str) -> Iterator[None]:
    """What Ctrl-C stops counts as no try; and Beam, of a worker that died, says only that its channel is closed."""
    try:
        yield
    except KeyboardInterrupt:
        attempts.clear(output)
        raise
    except RuntimeError as error:
        if "Channel closed prematurely" not in str(error):
            raise
        attempts.confirm(output)
        raise RuntimeError(
            "a worker process died; the same command goes on where it was, and sets a unit aside "
            f"that was begun {attempts.MAX_TRIES} times"
        ) from error


def quiet(verbose: bool) -> None:
    """Beam tells of every bundle at INFO, and its warnings concern its own modules, not the user's data."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if verbose else logging.ERROR)
    if verbose:
        root.removeFilter(_not_of_a_job_service)
    else:
        root.addFilter(_not_of_a_job_service)
    # The traces of an error that ends the job, which the command itself tells in one line.
    for name in TRACES:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.CRITICAL)
    threading.excepthook = threading.__excepthook__ if verbose else _without_channels
    logging.getLogger("lanser_ops").setLevel(logging.INFO)


def _not_of_a_job_service(record: logging.LogRecord) -> bool:
    """What a job service sends is logged by the root logger; the last error of it is what ends the job, too."""
    return record.module != "portable_runner"


def _without_channels(failed: threading.ExceptHookArgs) -> None:
    """Leave out what each of Beam's threads says whose worker has died: that its channel has."""
    if failed.thread is None or failed.thread.name not in CHANNELS:
        threading.__excepthook__(failed)


def _write_accounts(
    counted: Iterable[tuple[accounts.UnitCounts, UnitRun]], output: str, content: dict, taxonomy: str | None
) -> None:
    counts, runs = zip(*counted, strict=True)
    seconds = [spent for run in runs for spent in run.seconds]
    entry = content if taxonomy is None else content["taxonomies"][taxonomy]
    templates = [] if taxonomy is None else entry["label"]["templates"]
    account = accounts.total(counts, seconds, [run.pairs_scored for run in runs], templates)
    entry = {**entry, "accounts": account}
    if taxonomy is not None:
        entry = {**content, "taxonomies": {**content["taxonomies"], taxonomy: entry}}
    dataset.write_dataset(output, entry)
    report.write_documents(output)
    # Here and not after the job, since whoever started it may not wait for its end.
    attempts.clear(output)
    storage.clear_temporary(output)


def _runner(options: RunOptions) -> object:
    """Beam's direct runner, without its detour over a Prism binary that it would first download."""
    if not is_direct(options.beam):
        return None
    environment = None
    if options.workers > 1:
        direct = options.beam.view_as(DirectOptions)
        direct.direct_num_workers = options.workers
        if options.verbose:
            direct.direct_running_mode = "multi_processing"
        else:  # the same processes, without the trace that they print of every error
            direct.direct_running_mode = "in_memory"  # which leaves the environment as it is given
            command = f"{shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main 2>{os.devnull}"
            environment = SubprocessSDKEnvironment.from_command_string(command)
    encoded = JobServiceHandle.encode_pipeline_options(options.beam.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(environment, provision_info=fn_runner.ExtendedProvisionInfo(info))


def _as_workers_see(wanted: Stages) -> Stages:
    """``wanted`` without the paths at which the models lie here: a worker finds them by name, and knows the hash."""
    spec, label = wanted.transcribe, wanted.label
    return replace(
        wanted,
        transcribe=spec and replace(spec, asr_model=replace(spec.asr_model, path="")),
        label=label and replace(label, nli_model=replace(label.nli_model, path="")),
    )


def _sections(
    wanted: Stages, output: str, taxonomy: str | None, source: ShardSource | None
) -> tuple[resume.Sections, bytes | None]:
    """dataset.json's sections for the stages of this command, and the plan where it makes one."""
    by_stage, plan = {}, None
    if wanted.inputs:
        sources = read_sources(wanted.inputs.names, output)
        table, units = make_plan(sources, wanted.inputs.plan)
        plan = encode_plan(table, units)
        by_stage["plan"] = dataset.plan_section(
            wanted.inputs.plan,
            sorted(set(wanted.inputs.names)),
            sources.roots,
            len(table),
            hashlib.sha256(plan).hexdigest(),
        )
    if wanted.transcribe:
        by_stage["transcribe"] = dataset.transcribe_section(wanted.transcribe)
    if source:
        by_stage["unpack"] = source.section
    if wanted.label:
        by_stage["label"] = dataset.label_section(wanted.label)
    if wanted.shard:
        by_stage["shard"] = dataset.shard_section(wanted.shard)
    made = by_stage.keys() if wanted.score else by_stage.keys() - {"label"}
    return resume.Sections(taxonomy, by_stage, frozenset(made)), plan


def _bundled_lines(wanted: Stages) -> Iterator[str]:
    if wanted.transcribe and wanted.asr_name == models.BUNDLED:
        yield (
            f"ASR: {models.BUNDLED_ASR_ID}, small and bundled for a start; "
            f"for production --asr-model {models.PRODUCTION_ASR}"
        )
    if wanted.score and wanted.nli_name == models.BUNDLED:
        yield (
            f"NLI: {models.BUNDLED_NLI_ID}, small and bundled for a start; "
            f"for production --nli-model {models.PRODUCTION_NLI}"
        )


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())
