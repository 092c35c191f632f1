"""One Beam job over the work units: what is done before it, how it is run, and what is done after.

Beam takes seconds to import, so it is imported after everything else has been checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lanser_ops import storage
from lanser_ops.backends import BUNDLED, PRODUCTION_ASR, PRODUCTION_NLI
from lanser_ops.common.errors import InputError
from lanser_ops.common.signals import stops
from lanser_ops.corpus.plan import encode_plan, make_plan, read_units
from lanser_ops.corpus.sources import read_sources
from lanser_ops.labelling import score_store
from lanser_ops.labelling.weak_labels import hypothesis_count
from lanser_ops.output import attempts, dataset, files, lock, repair, resume, summary
from lanser_ops.output.directory import PLAN, OutputDir
from lanser_ops.output.progress import watch
from lanser_ops.output.statistics import UnitCounts, total
from lanser_ops.report.documents import write_documents
from lanser_ops.shards import relabel
from lanser_ops.shards.relabel import ShardSource
from lanser_ops.speech_labelling.classes import class_labels
from lanser_ops.verification import directory
from pipelines.checks import check_order, check_origin, check_places, check_voices
from pipelines.job_spec import JobSpec
from pipelines.options import RunOptions
from schemas.specs import ScoreSet
from schemas.units import Unit, UnitRun

if TYPE_CHECKING:
    import apache_beam as beam
    import pyarrow as pa

    from lanser_ops.handlers import Worker


@dataclass(frozen=True)
class Plan:
    """The rows of plan.parquet and its units, its content, and the folders that its rows index."""

    rows: pa.Table
    units: list[Unit]
    content: bytes
    roots: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """What is known before the job runs: its units, dataset.json's content, the score sets, what is done already."""

    runs: list[UnitRun]
    content: dict
    sets: tuple[ScoreSet, ...]
    done: resume.Done


def run_job(job: JobSpec, options: RunOptions, test_pipeline: beam.Pipeline | None = None) -> None:
    """Plan where needed, run what is not done yet, write the statistics, say what came out."""
    logging.getLogger("lanser_ops").setLevel(logging.INFO)
    if options.beam is not None:
        from pipelines.beam_options import runs_elsewhere

        if runs_elsewhere(options.beam):
            check_places(job, OutputDir(options.output))
    with contextlib.ExitStack() as stack:
        try:
            out = stack.enter_context(lock.hold(options.output))
        except OSError as error:
            raise InputError(f"--output {options.output}: cannot be written to ({_reason(error)})") from None
        _run(job, options, out, test_pipeline)


def _run(
    job: JobSpec,
    options: RunOptions,
    out: OutputDir,
    test_pipeline: beam.Pipeline | None,
) -> None:
    preparation = _prepare(job, out, options.overwrite)
    for line in [*_bundled_lines(job), *_silent_labels(job), *preparation.done.lines()]:
        print(line, flush=True)
    start = time.monotonic()
    import apache_beam as beam

    from lanser_ops import beam_compat
    from lanser_ops.handlers import Worker
    from pipelines.beam_options import direct_workers, is_described_only, is_direct, parse_beam_flags, runs_elsewhere

    beam_compat.quiet_beam(options.verbose)
    beam_options = options.beam or parse_beam_flags([])
    if runs_elsewhere(beam_options):
        beam_compat.pickle_relative_paths()
    workers = options.workers or direct_workers(beam_options)
    cores = (os.cpu_count() or 1) // workers if is_direct(beam_options) else 1
    roots = dataset.read_roots(out) if job.reads_audio else ()
    worker = Worker(out, roots, options.device, options.threads or max(1, cores))
    # Without a runner of ours the choice is Beam's --runner.
    runner = beam_compat.direct_runner(beam_options, workers, options.verbose) if is_direct(beam_options) else None
    with (
        _interrupted(out),
        watch(out, [run.unit for run in preparation.runs], job.stages[-1], job.taxonomy),
        test_pipeline or beam.Pipeline(runner=runner, options=beam_options) as pipeline,
    ):
        _add_stages(pipeline, _as_workers_see(job), preparation, worker, options.hints)
    if is_described_only(beam_options):
        print("the job is described, not run")
    else:
        summary.print_closing_lines(out, job.taxonomy, time.monotonic() - start)
        if options.verify:
            directory.check(out)
            print("verified: everything is as recorded")


def _prepare(job: JobSpec, out: OutputDir, overwrite: bool) -> Preparation:
    """Check options against the files that exist, plan, and write what the workers read."""
    before = dataset.read_dataset(out)
    check_origin(out, job, before)
    source = relabel.read_source(job.shards, out, job.label.context) if job.shards and job.label else None
    if source:
        check_voices(job, source)
    sections, plan = job_sections(job, out, source)
    check_order(out, job, before)
    start = resume.check(out, before, sections, overwrite)
    content = resume.merge(start.content, sections)
    if overwrite:
        out.delete(start.removed)
        attempts.clear(out)
    recorded = files.records(before)
    for line in repair.remove_damaged(out, recorded, job.stages, job.taxonomy):
        print(line, flush=True)
    content.pop("files", None)  # too many for the graph of a job, which gets the rest
    if job.shards:
        dataset.write_roots(out, [storage.absolute(name) for name in job.shards])
    if plan is not None:
        dataset.write_roots(out, plan.roots)
        out.write_bytes(PLAN, plan.content)
    unchanged = files.unchanged(out, recorded, job.stages, job.taxonomy)
    dataset.write_dataset(out, {**content, "files": files.section(unchanged)})
    runs = [UnitRun(tar.unit, tar) for tar in source.tars] if source else [UnitRun(unit) for unit in read_units(out)]
    for key, sentences in source.stored if source else ():
        score_store.add_set(out, key, sentences)
    sets = score_store.needed_sets(out, job.label) if job.label and job.score else ()
    done = resume.finished(out, out.names(), [run.unit for run in runs], job.stages, job.taxonomy, sets, job.speech)
    attempts.forget_unconfirmed(out)
    return Preparation(runs, content, sets, done)


def _add_stages(
    pipeline: beam.Pipeline, job: JobSpec, preparation: Preparation, worker: Worker, hints: dict[str, str]
) -> None:
    """The graph of the job. The ASR model is not loaded if every unit is transcribed already."""
    import apache_beam as beam

    from pipelines import transforms

    content = preparation.content
    sharded = resume.stored(content, "shard", job.taxonomy) is not None
    null_unit = preparation.runs[0].unit.index
    runs = pipeline | "Units" >> beam.Create(preparation.runs, reshuffle=False) | "Spread" >> beam.Reshuffle()
    if job.transcribe and not preparation.done.all("transcribe"):
        runs |= "Transcribe" >> transforms.Transcribe(worker, job.asr_name, job.transcribe, hints)
    if job.shards:
        runs |= "Unpack" >> transforms.Unpack(worker)
    if job.speech and job.speech_name and not preparation.done.all("speech"):
        runs |= "ScoreSpeech" >> transforms.ScoreSpeech(worker, job.speech_name, job.speech, hints)
    if job.label and job.score:
        if job.labels_from:
            runs |= "Score" >> transforms.ImportScores(worker, job.labels_from, job.label, preparation.sets)
        else:
            runs |= "Score" >> transforms.Score(worker, job.nli_name, job.label, preparation.sets, null_unit, hints)
        runs |= "Label" >> transforms.Label(worker, job.label, preparation.sets, null_unit)
    if job.label and job.shard and job.shards:
        runs |= "Shard" >> transforms.RewriteShards(worker, job.label, job.shard)
    elif job.label and job.shard:
        runs |= "Shard" >> transforms.WriteShards(
            worker, job.label, job.shard, content["transcribe"]["asr_model"]["id"]
        )
    (
        runs
        | "Count" >> transforms.CountUnits(worker, job.taxonomy, sharded, preparation.sets, job.speech)
        | "WriteStatistics" >> beam.Map(_write_statistics, out=worker.out, content=content, taxonomy=job.taxonomy)
    )


@contextlib.contextmanager
def _interrupted(out: OutputDir) -> Iterator[None]:
    """What Ctrl-C or SIGTERM interrupts is not counted as an attempt; and a worker's death is said in words.

    Of a worker that died, Beam says only that its channel is closed.
    """
    try:
        with stops():  # before Beam's errors are looked at: of a signal it makes one of its own
            yield
    except KeyboardInterrupt:
        attempts.forget_unconfirmed(out)
        raise
    except RuntimeError as error:
        from lanser_ops import beam_compat

        if beam_compat.WORKER_DIED not in str(error):
            raise
        attempts.confirm(out)
        raise RuntimeError(
            "a worker process died; the same command continues where it stopped, and sets a unit aside "
            f"that was begun {attempts.MAX_TRIES} times"
        ) from error


def _write_statistics(
    counted: Iterable[tuple[UnitCounts, UnitRun]], out: OutputDir, content: dict, taxonomy: str | None
) -> None:
    counts, runs = zip(*counted, strict=True)
    seconds = [spent for run in runs for spent in run.seconds]
    entry = content if taxonomy is None else content["taxonomies"][taxonomy]
    templates = [] if taxonomy is None else entry["label"]["templates"]
    hypotheses = 0 if taxonomy is None else hypothesis_count(entry["label"])
    entry = {**entry, "accounts": total(counts, seconds, [run.pairs_scored for run in runs], templates, hypotheses)}
    if taxonomy is not None:
        entry = {**content, "taxonomies": {**content["taxonomies"], taxonomy: entry}}
    recorded = files.records(dataset.read_dataset(out)).values()
    written = [record for run in runs for record in run.files]
    dataset.write_dataset(out, {**entry, "files": files.section([*recorded, *written])})
    write_documents(out)
    # Here and not after the job, since whoever started it may not wait for its end.
    attempts.clear(out)


def _as_workers_see(job: JobSpec) -> JobSpec:
    """``job`` without the paths of its models on this machine: a worker finds them by name, and knows the hash."""
    spec, label, shard, speech = job.transcribe, job.label, job.shard, job.speech
    if shard and speech:
        shard = replace(shard, speech=replace(speech, model=replace(speech.model, path="")))
    return replace(
        job,
        transcribe=spec and replace(spec, asr_model=replace(spec.asr_model, path="")),
        label=label and replace(label, nli_model=replace(label.nli_model, path="")),
        shard=shard,
    )


def job_sections(job: JobSpec, out: OutputDir, source: ShardSource | None) -> tuple[resume.Sections, Plan | None]:
    """dataset.json's sections for the stages of this command, and the plan where it makes one."""
    by_stage, plan = {}, None
    if job.inputs:
        sources = read_sources(job.inputs.names, out.root)
        table, units = make_plan(sources, job.inputs.plan)
        plan = Plan(table, units, encode_plan(table, units), sources.roots)
        digest = hashlib.sha256(plan.content).hexdigest()
        by_stage["plan"] = dataset.plan_section(job.inputs.plan, job.inputs.names, len(table), digest)
    if job.transcribe:
        by_stage["transcribe"] = dataset.transcribe_section(job.transcribe)
    if source:
        by_stage["unpack"] = source.section
    if job.label:
        by_stage["label"] = dataset.label_section(job.label)
    if job.shard:
        by_stage["shard"] = dataset.shard_section(job.shard)
    written = by_stage.keys() if job.score else by_stage.keys() - {"label"}
    return resume.Sections(job.taxonomy, by_stage, frozenset(written)), plan


def _bundled_lines(job: JobSpec) -> Iterator[str]:
    advice = "small and bundled for a quick start; for production"
    if job.transcribe and job.asr_name == BUNDLED:
        yield f"ASR: {job.transcribe.asr_model.id}, {advice} --asr-model {PRODUCTION_ASR}"
    if job.label and job.score and not job.labels_from and job.nli_name == BUNDLED:
        yield f"NLI: {job.label.nli_model.id}, {advice} --nli-model {PRODUCTION_NLI}"


def _silent_labels(job: JobSpec) -> Iterator[str]:
    if not (job.label and job.shard and job.shard.agree and job.speech):
        return
    labels = tuple(label.name for label in job.label.taxonomy.labels)
    known = class_labels(job.speech.classes, labels).values()
    if unknown := [label for label in labels if label not in known]:
        yield f"--agree: {job.speech.model.id} has no class for {', '.join(unknown)}; such utterances are left out"


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())
