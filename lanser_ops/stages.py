"""What is done to one work unit, stage by stage. Each stage leaves whole files and is skipped where they are.

A stage writes its rejects before the file that marks it as done, so a kill between the two is made good
by doing the stage again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lanser_ops import dataset, shards, storage, weak_labels
from lanser_ops.asr import Clip, Hypothesis
from lanser_ops.dataset import LabelSpec, ShardSpec
from lanser_ops.plan import Unit, read_unit
from lanser_ops.transcribe import POOL_SECONDS, STAGE, CutOptions, transcribe_rows
from schemas.records import (
    LABEL_SCHEMA,
    REJECT_SCHEMA,
    TRANSCRIPT_SCHEMA,
    Reject,
    Transcript,
    WeakLabel,
    from_table,
    make_reject,
    to_table,
)

# FLAC bytes of a unit wait in memory up to this size, then in a temporary file.
SPOOL_BYTES = 8 << 20


@dataclass(frozen=True)
class ScoreSet:
    """Hypotheses that were scored together; ``name`` is their folder below scores/."""

    name: str
    hypotheses: tuple[str, ...]

    def file(self, unit: Unit) -> str:
        return f"{dataset.SCORES}/{self.name}/{unit.part}"


SCORE_SCHEMA = pa.schema(
    [("key", pa.string()), ("scores", pa.list_(pa.float32())), ("truncated", pa.bool_())]
)


def transcribe_unit(
    output: str,
    unit: Unit,
    roots: Sequence[str],
    recognize: Callable[[list[Clip]], list[Hypothesis]],
    options: CutOptions,
    pool_seconds: float = POOL_SECONDS["cpu"],
) -> None:
    """Write the unit's transcripts and its rejects."""
    if storage.exists(storage.join(output, dataset.transcripts_file(unit))):
        return
    transcripts, rejects = transcribe_rows(read_unit(output, unit), roots, recognize, options, pool_seconds)
    storage.write_table(output, dataset.rejects_file(unit), to_table(rejects, REJECT_SCHEMA))
    storage.write_table(output, dataset.transcripts_file(unit), to_table(transcripts, TRANSCRIPT_SCHEMA))


def score_unit(
    output: str,
    unit: Unit,
    sets: Sequence[ScoreSet],
    score: Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Write P(entailment) of the unit's transcripts for every hypothesis of every set that lacks it.

    ``score(premises, hypotheses)`` gives float32 (premises, hypotheses) and bool (premises,), which
    premises were truncated.
    """
    for one in sets:
        if storage.exists(storage.join(output, one.file(unit))):
            continue
        table = storage.read_table(storage.join(output, dataset.transcripts_file(unit)), ["key", "text"])
        scores, truncated = score(table.column("text").to_pylist(), one.hypotheses)
        flat = pa.array(np.ascontiguousarray(scores).reshape(-1))
        offsets = pa.array(np.arange(len(table) + 1, dtype=np.int32) * len(one.hypotheses))
        rows = [
            table.column("key").combine_chunks(),
            pa.ListArray.from_arrays(offsets, flat),
            pa.array(truncated),
        ]
        storage.write_table(output, one.file(unit), pa.table(rows, schema=SCORE_SCHEMA))


def label_unit(output: str, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec) -> None:
    """Write the unit's labels, from its stored scores."""
    name = dataset.labels_file(spec.taxonomy.name, unit)
    if storage.exists(storage.join(output, name)):
        return
    transcripts = read_transcripts(output, unit)
    columns: dict[str, np.ndarray] = {}
    truncated = np.zeros(len(transcripts), dtype=bool)
    for one in sets:
        table = storage.read_table(storage.join(output, one.file(unit)))
        scores = table.column("scores").combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        columns |= {hypothesis: scores[:, index] for index, hypothesis in enumerate(one.hypotheses)}
        truncated |= table.column("truncated").to_numpy()
    entailment = weak_labels.average(columns, weak_labels.sentences(spec.taxonomy, spec.templates))
    labels = weak_labels.label_utterances(transcripts, entailment, truncated, spec.taxonomy)
    storage.write_table(output, name, to_table(labels, LABEL_SCHEMA))


def shard_unit(
    output: str, unit: Unit, roots: Sequence[str], spec: LabelSpec, kept: ShardSpec, asr_model: str
) -> None:
    """Write the unit's shard, and add what is left out of it to the unit's rejects.

    A unit without a sample gets no tar: an empty one trips readers up.
    """
    name = dataset.shard_file(spec.taxonomy.name, unit)
    if storage.exists(storage.join(output, name)):
        return
    stage = shard_stage(spec.taxonomy.name)
    samples, rejects = [], []
    for transcript, label in zip(
        read_transcripts(output, unit), read_labels(output, unit, spec.taxonomy.name), strict=True
    ):
        dropped = shards.drop_reason(transcript, label, kept)
        if dropped:
            rejects.append(_reject(transcript, stage, *dropped))
        else:
            given = transcript.avg_logprob is None
            samples.append(shards.Sample(transcript, label, None if given else asr_model))
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        transcripts = [sample.transcript for sample in samples]
        places, lost = shards.spool_flac(spool, transcripts, read_unit(output, unit), roots)
        rejects.extend(_reject(one, stage, *lost[one.key]) for one in transcripts if one.key in lost)
        _replace_rejects(output, unit, stage, rejects)
        samples = [sample for sample in samples if sample.transcript.key in places]
        if samples:
            with storage.atomic_writer(output, name) as stream:
                shards.write_samples(stream, shards.spooled_members(spool, places, samples, spec))


def shard_stage(taxonomy: str) -> str:
    """The ``stage`` of rejects that concern one taxonomy's shards alone."""
    return f"shard:{taxonomy}"


def read_transcripts(output: str, unit: Unit) -> list[Transcript]:
    return from_table(storage.read_table(storage.join(output, dataset.transcripts_file(unit))), Transcript)


def read_labels(output: str, unit: Unit, taxonomy: str) -> list[WeakLabel]:
    return from_table(
        storage.read_table(storage.join(output, dataset.labels_file(taxonomy, unit))), WeakLabel
    )


def _reject(transcript: Transcript, stage: str, reason: str, detail: str) -> Reject:
    return make_reject(transcript.source, transcript.start_s, transcript.end_s, stage, reason, detail)


def _replace_rejects(output: str, unit: Unit, stage: str, rejects: list[Reject]) -> None:
    """Put ``rejects`` in the place of what the unit's file holds for ``stage``."""
    before = from_table(storage.read_table(storage.join(output, dataset.rejects_file(unit))), Reject)
    others = [one for one in before if one.stage != stage]
    after = sorted([*others, *rejects], key=lambda one: (one.stage != STAGE, one.stage, one.key, one.reason))
    if after != before:
        storage.write_table(output, dataset.rejects_file(unit), to_table(after, REJECT_SCHEMA))
