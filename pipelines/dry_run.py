"""``--dry-run``: what a job would do and take, without writing anything to its output."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from lanser_ops import storage
from lanser_ops.audio.lengths import pieces_of, row_lengths, sample_rows
from lanser_ops.output import dataset, resume
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.relabel import ShardSource
from pipelines.checks import check_order, check_origin
from pipelines.estimate import Estimate, Machines, Work, estimate
from pipelines.job import Plan, read_inputs
from pipelines.job_spec import JobSpec
from pipelines.options import RunOptions
from pipelines.trial import Sample, Trial, run_trial
from schemas.specs import ScoreSet
from schemas.units import Unit

# The sample: about this many seconds of audio, which is what recognisers batch together, within these bounds.
SAMPLE_S = 120.0
MIN_SAMPLE, MAX_SAMPLE = 10, 40


@dataclass(frozen=True)
class _Corpus:
    """What the units hold: ``pieces`` by unit, ``recordings`` by unit, and a line that says it."""

    units: list[Unit]
    pieces: np.ndarray
    recordings: np.ndarray
    line: str


def dry_run(job: JobSpec, options: RunOptions) -> None:
    """Plan the job, run its stages on a sample in a temporary folder, and print what the whole will take."""
    assert options.dry_run  # or the job itself would run
    start = time.monotonic()
    out = OutputDir(options.output)
    before = dataset.read_dataset(out)
    check_origin(out, job, before)
    source, sections, plan = read_inputs(job, out)
    check_order(out, job, before)
    existing = out.names().keys() - set(resume.check(out, before, sections, options.overwrite).removed)
    from pipelines.beam_options import direct_workers, is_direct, parse_beam_flags  # imports Beam, as the job does

    beam_options = options.beam or parse_beam_flags([])
    machines = _machines(options, direct_workers(beam_options), is_direct(beam_options))
    launch_s = time.monotonic() - start
    rates = {"transcribe": options.dry_run.audio_rate, "score": options.dry_run.pair_rate}
    given = {stage for stage, rate in rates.items() if rate}
    if source:
        sample = _tar_sample(source)
        trial, sets = run_trial(job, sample, out, options.device, machines.threads, given)
        corpus = _tars(source, sample, trial)
    else:
        assert plan  # there are recordings where there are no shards
        corpus, sample = _recordings(plan)
        trial, sets = run_trial(job, sample, out, options.device, machines.threads, given)
    done = resume.finished(out, existing, corpus.units, job.stages, job.taxonomy, sets, job.speech)
    work = _work(job, out, existing, corpus, done, sets, trial.stored)
    stores = any(map(storage.is_store, plan.roots if plan else job.shards)), storage.is_store(out.root)
    result = estimate(work, trial, machines, options.dry_run, stores, launch_s)
    print(f"dry run: nothing is written to {out.root}\n{corpus.line}")
    for line in [
        *done.lines(),
        *_result_lines(out, work, trial, result, machines, stores, options.dry_run.hourly_price),
    ]:
        print(line)


def _machines(options: RunOptions, direct_workers: int, is_direct: bool) -> Machines:
    workers = options.workers or direct_workers
    cores = (os.cpu_count() or 1) if is_direct else None
    return Machines(workers, options.threads or max(1, (cores or 1) // workers), cores)


def _recordings(plan: Plan) -> tuple[_Corpus, Sample]:
    lengths = row_lengths(plan.rows, plan.roots)
    pieces = pieces_of(lengths.seconds, plan.rows.column("text").is_valid().to_numpy())
    size = math.ceil(SAMPLE_S / max(1e-3, float(lengths.seconds.sum() / pieces.sum())))
    rows = sample_rows(plan.rows, lengths.seconds, pieces, min(max(size, MIN_SAMPLE), MAX_SAMPLE))
    unit_of_row = plan.rows.column("unit").to_numpy()
    hours, size_mb = lengths.seconds.sum() / 3600, sum(unit.bytes for unit in plan.units) / 1e6
    basis = f"headers of {lengths.headers} recordings" + (", the others by their bytes" if lengths.estimated else "")
    line = f"{len(plan.units)} units, {len(plan.rows)} recordings, {hours:.2f} h of audio ({basis}), {size_mb:,.1f} MB"
    count = len(plan.units)
    corpus = _Corpus(
        plan.units, np.bincount(unit_of_row, pieces, count), np.bincount(unit_of_row, minlength=count), line
    )
    return corpus, Sample(rows, plan.roots, per_unit=float(pieces.sum()) / count)


def _tar_sample(source: ShardSource) -> Sample:
    """The shard of median size."""
    by_size = sorted(source.tars, key=lambda tar: tar.unit.bytes)
    return Sample(tar=by_size[len(by_size) // 2], stored=source.stored)


def _tars(source: ShardSource, sample: Sample, trial: Trial) -> _Corpus:
    assert sample.tar
    units = [tar.unit for tar in source.tars]
    sizes = np.array([unit.bytes for unit in units], dtype=np.float64)
    pieces = sizes * trial.whole / sample.tar.unit.bytes
    line = f"{len(units)} shards, {sizes.sum() / 1e6:,.1f} MB, about {pieces.sum():,.0f} samples (by the bytes of one)"
    return _Corpus(units, pieces, np.zeros(len(units), dtype=np.int64), line)


def _work(
    job: JobSpec,
    out: OutputDir,
    existing: Collection[str],
    corpus: _Corpus,
    done: resume.Done,
    sets: tuple[ScoreSet, ...],
    stored: frozenset[str],
) -> Work:
    """What the units lack. ``stored`` are the score sets that come with the shards to relabel."""
    left = {
        stage: [number for number, unit in enumerate(corpus.units) if unit.index not in done.by_stage[stage]]
        for stage in job.stages
    }
    to_unpack = set(left.get("unpack", ()))
    total = sum(len(score_set.hypotheses) for score_set in sets)

    def is_scored(score_set: ScoreSet, number: int) -> bool:
        """Whether a unit has the scores of ``score_set``, or gets them from its shard."""
        if out.scores(score_set, corpus.units[number]) in existing:
            return True
        return number in to_unpack and score_set.name in stored

    missing = [
        sum(len(score_set.hypotheses) for score_set in sets if not is_scored(score_set, number)) / max(1, total)
        for number in range(len(corpus.units))
    ]
    return Work(corpus.pieces.tolist(), corpus.recordings.tolist(), missing, left)


def _result_lines(
    out: OutputDir,
    work: Work,
    trial: Trial,
    result: Estimate,
    machines: Machines,
    stores: tuple[bool, bool],
    hourly_price: float | None,
) -> Iterator[str]:
    if not work.units:
        yield "nothing is left to do"
        return
    loading_s = sum(trial.loading_s.values())
    spent = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in trial.seconds.items())
    yield f"trial: {trial.pieces} clips, {trial.audio_s:.0f} s of audio: {spent}; {loading_s:.1f} s to load models"
    seconds = ", ".join(f"{stage} {_duration(spent)}" for stage, spent in result.seconds.items())
    yield f"left to do: {result.audio_s / 3600:,.2f} h to transcribe, {result.pairs:,} pairs to score"
    yield f"stages, all workers together: {seconds}"
    host = "on this machine, as busy as it is now" if machines.cores else "on machines like this one"
    workers = f"{machines.workers} worker{'s' * (machines.workers > 1)} of {machines.threads} threads"
    yield f"time: about {_duration(result.wall_s)} with {workers}, {host}"
    free = "" if storage.is_remote(out.root) else f"; {_free_bytes(out.root) / 1e9:,.1f} GB are free"
    shards_mb = result.sizes.get("shards", 0) / 1e6
    yield f"disk: about {sum(result.sizes.values()) / 1e6:,.1f} MB, of which shards {shards_mb:,.1f} MB{free}"
    if any(stores):
        reads, others = result.requests
        yield f"requests: about {reads:,} reads and listings, {others:,} writes, copies and deletions"
    if hourly_price is not None:
        cost = result.machine_hours * hourly_price
        yield f"cost: about {cost:,.2f} ({result.machine_hours:,.2f} machine hours at {hourly_price:g})"


def _duration(seconds: float) -> str:
    """
    >>> _duration(8.25), _duration(125), _duration(45000)
    ('8.2 s', '2 min 5 s', '12 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _free_bytes(root: str) -> int:
    while not os.path.exists(root):
        root = os.path.dirname(root)
    return shutil.disk_usage(root).free
