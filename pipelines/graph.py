"""The graph of a job over the work units: which stages run, and in what order.

    units ─ Reshuffle ─ transcribe ─ score ─ label ─ shard ─ count ─ dataset.json

Units are a few bytes each and independent: no audio and no sample ever passes between workers. A prior alone
is made of all units: labels then wait for the scores of the last one. ``lanser relabel`` has ``unpack`` in the
place of ``transcribe``, and its shards get their audio from the shards that it reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from lanser_ops import accounts, models, relabel, resume, stages, weak_labels
from lanser_ops.dataset import LabelSpec, ShardSpec, TranscribeSpec
from lanser_ops.handlers import ScoreHandler, TranscribeHandler, Worker
from lanser_ops.plan import PlanOptions
from lanser_ops.scores import ScoreSet
from lanser_ops.unit_run import UnitRun


@dataclass(frozen=True)
class Inputs:
    """What is planned: the names that --input gave, and how they are cut into units."""

    names: list[str]
    plan: PlanOptions


@dataclass(frozen=True)
class Stages:
    """What a command does. A stage that is None is not run; its files are taken as they are.

    ``shard`` needs ``label``, for what the samples say of their labels; ``score`` tells whether the labels
    are made in this run. ``shards`` names the shards that transcripts and audio come from.
    """

    inputs: Inputs | None = None
    shards: tuple[str, ...] = ()
    transcribe: TranscribeSpec | None = None
    asr_name: str = models.BUNDLED
    label: LabelSpec | None = None
    nli_name: str = models.BUNDLED
    score: bool = False
    shard: ShardSpec | None = None

    @property
    def names(self) -> list[str]:
        there = {"transcribe": self.transcribe, "unpack": self.shards, "score": self.score}
        there |= {"label": self.score, "shard": self.shard}
        return [name for name, stage in there.items() if stage]


def add_stages(
    pipeline: beam.Pipeline,
    units: list[UnitRun],
    wanted: Stages,
    sets: tuple[ScoreSet, ...],
    done: resume.Done,
    worker: Worker,
    asr_model: str,
    hints: dict[str, str],
) -> beam.PCollection:
    """The graph up to the accounts of every unit. The ASR model is not loaded where all is transcribed.

    The inference steps alone have ``hints``: a runner that knows them takes machines with a GPU for these.
    """
    spec = wanted.label
    runs = pipeline | "Units" >> beam.Create(units, reshuffle=False) | "Spread" >> beam.Reshuffle()
    if wanted.transcribe and not done.all("transcribe"):
        handler = TranscribeHandler(worker, wanted.asr_name, wanted.transcribe)
        runs |= "Transcribe" >> RunInference(handler, model_identifier="asr").with_resource_hints(**hints)
    if wanted.shards:
        runs |= "Unpack" >> beam.Map(_unpack, worker=worker)
    if wanted.score:
        null_unit = units[0].unit.index if spec.prior == weak_labels.NULL_PRIOR else None
        handler = ScoreHandler(worker, wanted.nli_name, spec, sets, null_unit)
        runs |= "Score" >> RunInference(handler, model_identifier="nli").with_resource_hints(**hints)
        prior = None if spec.prior == weak_labels.NO_PRIOR else _prior(runs, worker, sets, spec, null_unit)
        runs |= "Label" >> beam.Map(_label, worker=worker, sets=sets, spec=spec, prior=prior)
    if wanted.shard and wanted.shards:
        runs |= "Shard" >> beam.Map(_rewrite, worker=worker, spec=spec, kept=wanted.shard)
    elif wanted.shard:
        runs |= "Shard" >> beam.Map(_shard, worker=worker, spec=spec, kept=wanted.shard, asr_model=asr_model)
    return (
        runs
        | "Count" >> beam.Map(_count, output=worker.output, taxonomy=spec.taxonomy.name if spec else None)
        | "Gather" >> beam.combiners.ToList()
    )


def _prior(
    scored: beam.PCollection, worker: Worker, sets: tuple[ScoreSet, ...], spec: LabelSpec, null_unit: int | None
) -> beam.pvalue.AsSingleton:
    """What is taken off, a log score a label, read from the stored scores once all units are scored."""
    return beam.pvalue.AsSingleton(
        scored
        | "PriorPart" >> beam.FlatMap(_prior_part, worker=worker, sets=sets, spec=spec, null_unit=null_unit)
        | "GatherPrior" >> beam.combiners.ToList()
        | "Prior" >> beam.Map(weak_labels.mean_log_scores)
    )


def _prior_part(
    run: UnitRun, worker: Worker, sets: tuple[ScoreSet, ...], spec: LabelSpec, null_unit: int | None
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    if null_unit is None:
        yield run.unit.index, *stages.corpus_sums(worker.output, run.unit, sets, spec)
    elif run.unit.index == null_unit:
        yield run.unit.index, *stages.null_sums(worker.output, sets, spec)


def _unpack(run: UnitRun, worker: Worker) -> UnitRun:
    start = time.monotonic()
    relabel.unpack_unit(worker.output, run.tar)
    return run.timed("unpack", start)


def _label(
    run: UnitRun, worker: Worker, sets: tuple[ScoreSet, ...], spec: LabelSpec, prior: tuple[float, ...] | None
) -> UnitRun:
    start = time.monotonic()
    stages.label_unit(worker.output, run.unit, sets, spec, prior)
    return run.timed("label", start)


def _shard(run: UnitRun, worker: Worker, spec: LabelSpec, kept: ShardSpec, asr_model: str) -> UnitRun:
    start = time.monotonic()
    stages.shard_unit(worker.output, run.unit, worker.roots, spec, kept, asr_model)
    return run.timed("shard", start)


def _rewrite(run: UnitRun, worker: Worker, spec: LabelSpec, kept: ShardSpec) -> UnitRun:
    start = time.monotonic()
    relabel.rewrite_unit(worker.output, run.tar, spec, kept)
    return run.timed("shard", start)


def _count(run: UnitRun, output: str, taxonomy: str | None) -> tuple[accounts.UnitCounts, UnitRun]:
    return accounts.count_unit(output, run.unit, taxonomy), run
