"""One Beam job over the work units: what is done before it, how it is run, and what is done after.

Beam takes seconds to import, so it is imported after everything else has been checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.common.signals import stops
from lanser_ops.corpus.plan import encode_plan, make_plan, read_units
from lanser_ops.corpus.sources import read_sources
from lanser_ops.labelling import score_store
from lanser_ops.labelling.weak_labels import hypothesis_count
from lanser_ops.output import attempts, dataset, files, lock, parts, repair, resume, summary
from lanser_ops.output.directory import PLAN, OutputDir
from lanser_ops.output.progress import watch
from lanser_ops.output.statistics import UnitCounts, total
from lanser_ops.report.documents import write_documents
from lanser_ops.shards import relabel
from lanser_ops.shards.relabel import ShardSource
from lanser_ops.verification import directory
from pipelines.checks import check_order, check_origin, check_places, check_voices
from pipelines.job_spec import JobSpec
from pipelines.options import RunOptions
from pipelines.remarks import closing_remarks, remarks
from schemas.specs import ScoreSet
from schemas.units import Part, Unit, UnitRun

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
    """What is known before the job runs: its units, dataset.json's content, the score sets, what is done already.

    ``counted`` are ``sets`` and those that shards hold beside them, ``stages`` those of `JobSpec.stages` that run. A
    job for a ``part`` has only units of that part; ``units`` is the number of all units, ``job_hash`` a hash of the
    options that decide outputs, and ``accounted`` says whether nothing is left to do.
    """

    runs: list[UnitRun]
    content: dict
    sets: tuple[ScoreSet, ...]
    counted: tuple[ScoreSet, ...]
    done: resume.Done
    stages: list[str]
    part: Part | None
    units: int
    job_hash: str
    accounted: bool


def run_job(job: JobSpec, options: RunOptions, test_pipeline: beam.Pipeline | None = None) -> None:
    """Plan where needed, run what is not done yet, write the statistics, say what came out."""
    logging.getLogger("lanser_ops").setLevel(logging.INFO)
    if options.beam is not None:
        from pipelines.beam_options import runs_elsewhere

        if runs_elsewhere(options.beam):
            check_places(job, OutputDir(options.output))
    part = options.part
    if part and options.overwrite:
        raise InputError(f"--part {part}: parts would remove each other's files with --overwrite; leave out one")
    if part and not job.stages_by_unit:
        raise InputError(f"--part {part}: a selection needs the labels of all units at once; leave out --part")
    with contextlib.ExitStack() as stack:
        try:
            out = stack.enter_context(lock.hold(options.output, part.name if part else None))
        except OSError as error:
            raise InputError(f"--output {options.output}: cannot be written to ({_reason(error)})") from None
        if part:
            _run_part(job, options, part, out, test_pipeline)
        else:
            _run_all(job, options, out, test_pipeline)


def _run_all(job: JobSpec, options: RunOptions, out: OutputDir, test_pipeline: beam.Pipeline | None) -> None:
    preparation = _prepare(job, options, out, None)
    start = time.monotonic()
    if _run_stages(job, options, out, preparation, test_pipeline):
        summary.print_closing_lines(out, job.taxonomy, time.monotonic() - start)
        for line in closing_remarks(job, out):
            print(line)
        if options.verify:
            directory.check(out)
            print("verified: everything is as recorded")


def _run_part(
    job: JobSpec, options: RunOptions, part: Part, out: OutputDir, test_pipeline: beam.Pipeline | None
) -> None:
    """Do the part's units, and what is left for all units unless another part has still to do its own.

    Of parts that end at the same time, the second finds the work of the first (`lock.turn`).
    """
    preparation = _prepare(job, options, out, part)
    if preparation.accounted:
        print(f"part {part}: nothing is left to do")
        return
    if preparation.runs and not _run_stages(job, options, out, preparation, test_pipeline):
        return
    with lock.turn(out.root) as shared:
        missing = parts.missing(out, preparation.job_hash, part.count, preparation.units)
        if parts.accounted(out, dataset.read_dataset(out), job.taxonomy):
            print(f"part {part}: done, as are all others")
        elif missing:
            names = ", ".join(map(str, missing))
            print(f"part {part}: done; waiting for {len(missing)} of {part.count} parts: {names}")
        else:
            print(f"part {part}: done, as are all others; what needs all units follows", flush=True)
            _run_all(job, options, shared, test_pipeline)


def _run_stages(
    job: JobSpec, options: RunOptions, out: OutputDir, preparation: Preparation, test_pipeline: beam.Pipeline | None
) -> bool:
    """Run the stages on the units; False where that is only described, and somebody else is to start it."""
    for line in [*remarks(job), *preparation.done.lines()]:
        print(line, flush=True)
    import apache_beam as beam

    from lanser_ops import beam_compat
    from lanser_ops.handlers import Worker
    from pipelines.beam_options import direct_workers, is_described_only, is_direct, parse_beam_flags, runs_elsewhere
    from pipelines.runners import runner_of

    beam_compat.quiet_beam(options.verbose)
    beam_options = options.beam or parse_beam_flags([])
    if runs_elsewhere(beam_options):
        beam_compat.pickle_relative_paths()
    workers = options.workers or direct_workers(beam_options)
    cores = (os.cpu_count() or 1) // workers if is_direct(beam_options) else 1
    roots = dataset.read_roots(out) if job.reads_audio else ()
    alone = workers == 1 and is_direct(beam_options)
    worker = Worker(out, roots, options.device, options.threads or max(1, cores), alone)
    runner = runner_of(beam_options, len(preparation.runs), workers, options.verbose)
    units = [run.unit for run in preparation.runs]
    with (
        _interrupted(out, units),
        watch(out, units, preparation.stages[-1], job.taxonomy),
        test_pipeline or beam.Pipeline(runner=runner, options=beam_options) as pipeline,
    ):
        _add_stages(pipeline, _as_workers_see(job), preparation, worker, options.hints)
    is_described = is_described_only(beam_options)
    if is_described:
        print("the job is described, not run")
    return not is_described


def _prepare(job: JobSpec, options: RunOptions, out: OutputDir, part: Part | None) -> Preparation:
    """Check options against the files that exist, plan, and write what the workers read."""
    check_origin(out, job, dataset.read_dataset(out))
    source, sections, plan = read_inputs(job, out)
    with lock.turn(out.root) if part else contextlib.nullcontext():
        return _write_preparation(job, options.overwrite, out, part, source, sections, plan)


def _write_preparation(
    job: JobSpec,
    overwrite: bool,
    out: OutputDir,
    part: Part | None,
    source: ShardSource | None,
    sections: resume.Sections,
    plan: Plan | None,
) -> Preparation:
    """The part of `_prepare` that reads and writes what the jobs for parts share."""
    before = dataset.read_dataset(out)
    check_order(out, job, before)
    start = resume.check(out, before, sections, overwrite)
    content = resume.merge(start.content, sections)
    accounted = content == before and parts.accounted(out, before, job.taxonomy)
    if overwrite:
        out.delete(start.removed)
        attempts.clear(out)
        parts.clear(out)
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
    all_runs = [UnitRun(tar.unit, tar) for tar in source.tars] if source else list(map(UnitRun, read_units(out)))
    job_hash = hashlib.sha256(json.dumps([job.stages, job.taxonomy, sections.by_stage]).encode()).hexdigest()
    runs = parts.with_earlier(out, job_hash, part.of(all_runs) if part else all_runs)
    units = [run.unit for run in runs]
    stages = job.stages_by_unit if part else job.stages
    unpacked = [score_store.add_set(out, key, sentences) for key, sentences in source.stored] if source else []
    sets = score_store.needed_sets(out, job.label) if job.label and job.score else ()
    done = resume.finished(out, out.names(), units, stages, job.taxonomy, sets, job.speech)
    attempts.forget_unconfirmed(out, units)
    counted = tuple(dict.fromkeys((*sets, *unpacked)))
    return Preparation(runs, content, sets, counted, done, stages, part, len(all_runs), job_hash, accounted)


def _add_stages(
    pipeline: beam.Pipeline, job: JobSpec, preparation: Preparation, worker: Worker, hints: dict[str, str]
) -> None:
    """The graph of the job. The ASR model is not loaded if every unit is transcribed already."""
    import apache_beam as beam

    from pipelines import transforms

    content, stages = preparation.content, preparation.stages
    sharded = resume.stored(content, "shard", job.taxonomy) is not None
    null_unit = preparation.runs[0].unit.index
    runs = pipeline | "Units" >> beam.Create(preparation.runs, reshuffle=False) | "Spread" >> beam.Reshuffle()
    if job.transcribe and not preparation.done.all("transcribe"):
        runs |= "Transcribe" >> transforms.Transcribe(worker, job.asr_name, job.transcribe, hints)
    if job.shards:
        runs |= "Unpack" >> transforms.Unpack(worker)
    if job.speech and job.speech_name and not preparation.done.all("speech"):
        runs |= "ScoreSpeech" >> transforms.ScoreSpeech(worker, job.speech_name, job.speech, hints)
    if job.label and "score" in stages:
        if job.labels_from:
            runs |= "Score" >> transforms.ImportScores(worker, job.labels_from, job.label, preparation.sets)
        else:
            runs |= "Score" >> transforms.Score(worker, job.nli_name, job.label, preparation.sets, null_unit, hints)
    if job.label and "label" in stages:
        runs |= "Label" >> transforms.Label(worker, job.label, preparation.sets, null_unit)
    if job.label and job.shard and "shard" in stages and job.shards:
        runs |= "Shard" >> transforms.RewriteShards(worker, job.label, job.shard)
    elif job.label and job.shard and "shard" in stages:
        runs |= "Shard" >> transforms.WriteShards(
            worker, job.label, job.shard, content["transcribe"]["asr_model"]["id"]
        )
    if preparation.part:
        taxonomy = job.taxonomy if "shard" in stages else None
        _ = runs | "ReportPart" >> transforms.ReportPart(worker, preparation.part, preparation.job_hash, taxonomy)
        return
    (
        runs
        | "Count" >> transforms.CountUnits(worker, job.taxonomy, sharded, preparation.counted, job.speech)
        | "WriteStatistics" >> beam.Map(_write_statistics, out=worker.out, content=content, taxonomy=job.taxonomy)
    )


@contextlib.contextmanager
def _interrupted(out: OutputDir, units: Sequence[Unit]) -> Iterator[None]:
    """What a signal interrupts is not counted as an attempt; a worker's death is reported in words, unlike Beam's."""
    try:
        with stops():  # before Beam's errors are looked at: of a signal it makes one of its own
            yield
    except KeyboardInterrupt:
        attempts.forget_unconfirmed(out, units)
        raise
    except RuntimeError as error:
        from lanser_ops import beam_compat

        if beam_compat.WORKER_DIED not in str(error):
            raise
        attempts.confirm(out, units)
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
    parts.clear(out)


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


def read_inputs(job: JobSpec, out: OutputDir) -> tuple[ShardSource | None, resume.Sections, Plan | None]:
    """The shards to relabel, if any, dataset.json's sections for the stages, and the plan where the job makes one.

    Raises InputError for inputs that cannot be read, and for scores of a voice that the job needs and the shards lack.
    """
    source = relabel.read_source(job.shards, out, job.label.context) if job.shards and job.label else None
    if source:
        check_voices(job, source)
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
    return source, resume.Sections(job.taxonomy, by_stage, frozenset(written)), plan


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())
