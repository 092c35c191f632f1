"""The stages of a job as PTransforms over work units.

    units ─ Reshuffle ─ Transcribe ─ ScoreSpeech ─ Score ─ Label ─ WriteShards ─ CountUnits

Units are a few bytes each and independent: no audio and no sample ever passes between workers. Only a prior and a
selection depend on all units: labels then wait for the scores of the last one, and shards for its labels. ``lanser
relabel`` has `Unpack` in the place of `Transcribe`, and `RewriteShards`, whose audio comes from the shards that it
reads, in the place of `WriteShards`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import apache_beam as beam

from lanser_ops.beam_compat import RunInference
from lanser_ops.beam_metrics import record
from lanser_ops.common.label_scores import mean_log_scores
from lanser_ops.handlers import ScoreHandler, SpeechHandler, TranscribeHandler, Worker
from lanser_ops.labelling.label import corpus_sums, label_unit, null_sums
from lanser_ops.labelling.label_file import import_scores
from lanser_ops.output import parts
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.files import new_records
from lanser_ops.output.statistics import UnitCounts, count_unit
from lanser_ops.shards import relabel, select
from lanser_ops.shards.write import shard_unit
from schemas.specs import CORPUS_PRIOR, NO_PRIOR, NULL_PRIOR, LabelSpec, ScoreSet, ShardSpec, SpeechSpec, TranscribeSpec
from schemas.units import Part, ShardTar, StageCounts, UnitRun

# `select.left_out` as Beam looks it up by unit: nothing for a unit that loses nothing.
LeftOut = Mapping[int, Iterable[bytes]]


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class Transcribe(beam.PTransform):
    """Audio to transcripts, on disk; ``hints`` are Beam's resource hints for the inference step."""

    def __init__(self, worker: Worker, model_name: str, spec: TranscribeSpec, hints: Mapping[str, str] | None = None):
        super().__init__()
        self._handler, self._hints = TranscribeHandler(worker, model_name, spec), dict(hints or {})

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | RunInference(self._handler).with_resource_hints(**self._hints)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class ScoreSpeech(beam.PTransform):
    """The audio of transcribed units to the scores of a speech model, on disk; ``hints`` as for `Transcribe`."""

    def __init__(self, worker: Worker, model_name: str, spec: SpeechSpec, hints: Mapping[str, str] | None = None):
        super().__init__()
        self._handler, self._hints = SpeechHandler(worker, model_name, spec), dict(hints or {})

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | RunInference(self._handler).with_resource_hints(**self._hints)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class Unpack(beam.PTransform):
    """Shards to transcripts and the scores that they hold, on disk."""

    def __init__(self, worker: Worker):
        super().__init__()
        self._worker = worker

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.Map(_unpack, worker=self._worker)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class Score(beam.PTransform):
    """Transcripts to entailment scores, on disk.

    ``sets`` are those of `score_store.needed_sets`; the unit ``null_unit`` scores the empty premise too, if a null
    prior needs it.
    """

    def __init__(
        self,
        worker: Worker,
        model_name: str,
        spec: LabelSpec,
        sets: tuple[ScoreSet, ...],
        null_unit: int = 0,
        hints: Mapping[str, str] | None = None,
    ):
        super().__init__()
        needs_null = spec.prior == NULL_PRIOR
        self._handler = ScoreHandler(worker, model_name, spec, sets, null_unit if needs_null else None)
        self._hints = dict(hints or {})

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | RunInference(self._handler).with_resource_hints(**self._hints)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class ImportScores(beam.PTransform):
    """The scores of the file of labels at ``path``, on disk: `Score` without a model. ``spec``: `file_label_spec`."""

    def __init__(self, worker: Worker, path: str, spec: LabelSpec, sets: tuple[ScoreSet, ...]):
        super().__init__()
        self._worker, self._path, self._spec, self._sets = worker, path, spec, sets

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.Map(_import_scores, worker=self._worker, path=self._path, spec=self._spec, sets=self._sets)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class Label(beam.PTransform):
    """Stored scores to weak labels, on disk; a prior is computed once all units are scored."""

    def __init__(self, worker: Worker, spec: LabelSpec, sets: tuple[ScoreSet, ...], null_unit: int = 0):
        super().__init__()
        self._worker, self._spec, self._sets, self._null_unit = worker, spec, sets, null_unit

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        prior = None
        if self._spec.prior != NO_PRIOR:
            prior = beam.pvalue.AsSingleton(
                units
                | "PriorPart" >> beam.FlatMap(_prior_part, self._worker, self._spec, self._sets, self._null_unit)
                | "GatherPrior" >> beam.combiners.ToList()
                | "Prior" >> beam.Map(mean_log_scores)
            )
        return units | beam.Map(_label, worker=self._worker, sets=self._sets, spec=self._spec, prior=prior)


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(tuple[int, bytes])
class Select(beam.PTransform):
    """The labels of all units to what `select.left_out` leaves out of each; part of `WriteShards`."""

    def __init__(self, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec):
        super().__init__()
        self._worker, self._spec, self._shard_spec = worker, spec, shard_spec

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return (
            units
            | "Candidates" >> beam.Map(_candidates, self._worker, self._spec, self._shard_spec)
            | "GatherCandidates" >> beam.combiners.ToList()
            | "LeftOut" >> beam.FlatMap(select.left_out, self._shard_spec).with_output_types(tuple[int, bytes])
        )


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class WriteShards(beam.PTransform):
    """Labels and audio to WebDataset shards; ``asr_model`` is the id that samples are marked with.

    If ``shard_spec`` selects among all utterances, shards are written once all units are labelled.
    """

    def __init__(self, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec, asr_model: str):
        super().__init__()
        self._worker, self._spec, self._shard_spec, self._asr_model = worker, spec, shard_spec, asr_model

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.Map(
            _shard,
            worker=self._worker,
            spec=self._spec,
            shard_spec=self._shard_spec,
            asr_model=self._asr_model,
            left_out=_left_out(units, self._worker, self._spec, self._shard_spec),
        )


@beam.typehints.with_input_types(UnitRun)
@beam.typehints.with_output_types(UnitRun)
class RewriteShards(beam.PTransform):
    """Labels to WebDataset shards with the audio of the shards that the units came from.

    If ``shard_spec`` selects among all utterances, shards are written once all units are labelled.
    """

    def __init__(self, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec):
        super().__init__()
        self._worker, self._spec, self._shard_spec = worker, spec, shard_spec

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.Map(
            _rewrite,
            worker=self._worker,
            spec=self._spec,
            shard_spec=self._shard_spec,
            left_out=_left_out(units, self._worker, self._spec, self._shard_spec),
        )


@beam.typehints.with_input_types(UnitRun)
class CountUnits(beam.PTransform):
    """(counts, run) of every unit, counted from its files, in one list.

    The run gets the sizes and hashes of those files that dataset.json does not record yet; those of ``sets`` and of
    ``speech`` are among them.
    """

    def __init__(
        self,
        worker: Worker,
        taxonomy: str | None,
        sharded: bool,
        sets: tuple[ScoreSet, ...] = (),
        speech: SpeechSpec | None = None,
    ):
        super().__init__()
        self._worker, self._taxonomy, self._sharded, self._sets, self._speech = worker, taxonomy, sharded, sets, speech

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        counted = units | beam.Map(
            _count,
            worker=self._worker,
            taxonomy=self._taxonomy,
            sharded=self._sharded,
            sets=self._sets,
            speech=self._speech,
        )
        return counted | beam.combiners.ToList()


@beam.typehints.with_input_types(UnitRun)
class ReportPart(beam.PTransform):
    """What a part of a job leaves behind once all of its units are done; ``job_hash`` is that of `parts.write_runs`.

    The run of every unit gets the record of the shard of ``taxonomy`` that this job has written, if any.
    """

    def __init__(self, worker: Worker, part: Part, job_hash: str, taxonomy: str | None):
        super().__init__()
        self._worker, self._part, self._job_hash, self._taxonomy = worker, part, job_hash, taxonomy

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return (
            units
            | "RecordShard" >> beam.Map(_record_shard, worker=self._worker, taxonomy=self._taxonomy)
            | "GatherRuns" >> beam.combiners.ToList()
            | "WriteRuns" >> beam.Map(_write_runs, out=self._worker.out, part=self._part, job_hash=self._job_hash)
        )


def _prior_part(
    run: UnitRun, worker: Worker, spec: LabelSpec, sets: tuple[ScoreSet, ...], null_unit: int
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    if spec.prior == CORPUS_PRIOR:
        yield run.unit.index, *corpus_sums(worker.out, run.unit, sets, spec)
    elif run.unit.index == null_unit:
        yield run.unit.index, *null_sums(worker.out, sets, spec)


def _tar(run: UnitRun) -> ShardTar:
    if run.tar is None:
        raise ValueError(f"unit {run.unit.index} has no shard that it is read from: give UnitRun(unit, tar)")
    return run.tar


def _unpack(run: UnitRun, worker: Worker) -> UnitRun:
    start = time.monotonic()
    return record(run, "unpack", start, relabel.unpack_unit(worker.out, _tar(run)))


def _import_scores(run: UnitRun, worker: Worker, path: str, spec: LabelSpec, sets: tuple[ScoreSet, ...]) -> UnitRun:
    start = time.monotonic()
    import_scores(worker.out, run.unit, worker.roots, path, spec, sets)
    return record(run, "score", start, StageCounts())


def _label(
    run: UnitRun, worker: Worker, sets: tuple[ScoreSet, ...], spec: LabelSpec, prior: tuple[float, ...] | None
) -> UnitRun:
    start = time.monotonic()
    label_unit(worker.out, run.unit, sets, spec, prior)
    return record(run, "label", start, StageCounts())


def _candidates(run: UnitRun, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec) -> tuple[int, bytes]:
    return run.unit.index, select.read_candidates(worker.out, run.unit, spec, shard_spec).tobytes()


def _left_out(
    units: beam.PCollection, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec
) -> beam.pvalue.AsMultiMap | None:
    """What a selection leaves out, as a side input of which a worker reads the part of its unit."""
    return beam.pvalue.AsMultiMap(units | Select(worker, spec, shard_spec)) if shard_spec.selects else None


def _not_selected(run: UnitRun, shard_spec: ShardSpec, left_out: LeftOut | None) -> dict[str, str]:
    parts = left_out[run.unit.index] if left_out is not None else ()
    return {key: detail for part in parts for key, detail in select.details(part, shard_spec).items()}


def _shard(
    run: UnitRun,
    worker: Worker,
    spec: LabelSpec,
    shard_spec: ShardSpec,
    asr_model: str,
    left_out: LeftOut | None,
) -> UnitRun:
    start = time.monotonic()
    not_selected = _not_selected(run, shard_spec, left_out)
    counts = shard_unit(worker.out, run.unit, worker.roots, spec, shard_spec, asr_model, not_selected)
    return record(run, "shard", start, counts)


def _rewrite(run: UnitRun, worker: Worker, spec: LabelSpec, shard_spec: ShardSpec, left_out: LeftOut | None) -> UnitRun:
    start = time.monotonic()
    not_selected = _not_selected(run, shard_spec, left_out)
    return record(run, "shard", start, relabel.rewrite_unit(worker.out, _tar(run), spec, shard_spec, not_selected))


def _count(
    run: UnitRun,
    worker: Worker,
    taxonomy: str | None,
    sharded: bool,
    sets: tuple[ScoreSet, ...],
    speech: SpeechSpec | None,
) -> tuple[UnitCounts, UnitRun]:
    out, unit = worker.out, run.unit
    names = [out.transcripts(unit), out.rejects(unit), *(out.scores(score_set, unit) for score_set in sets)]
    names += [out.speech_scores(speech.model, unit)] if speech else []
    names += [out.labels(taxonomy, unit), out.shard(taxonomy, unit)] if taxonomy else []
    return count_unit(out, unit, taxonomy, sharded), replace(run, files=new_records(out, names, run.files))


def _record_shard(run: UnitRun, worker: Worker, taxonomy: str | None) -> UnitRun:
    names = [worker.out.shard(taxonomy, run.unit)] if taxonomy else []
    return replace(run, files=new_records(worker.out, names, run.files))


def _write_runs(runs: Iterable[UnitRun], out: OutputDir, part: Part, job_hash: str) -> None:
    parts.write_runs(out, part, job_hash, runs)
