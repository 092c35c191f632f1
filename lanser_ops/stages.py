"""What is done to one work unit, stage by stage. Each stage leaves whole files and is skipped where they are.

A stage writes its rejects before the file that marks it as done, so a kill between the two is made good
by doing the stage again. Two attempts at one unit at a time write the same bytes, and neither takes away what
the other has added to the rejects.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lanser_ops import attempts, dataset, shards, storage, tars, transcribe, weak_labels
from lanser_ops.asr import Clip, Hypothesis
from lanser_ops.dataset import LabelSpec, ShardSpec
from lanser_ops.entailment import Scores
from lanser_ops.plan import Unit, read_unit
from lanser_ops.scores import ScoreSet, read_scores, write_scores
from lanser_ops.transcribe import POOL_SECONDS, CutOptions
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

SHARD_STAGE = "shard:"
GAVE_UP = f"its unit was begun {attempts.MAX_TRIES} times and never finished: a worker died on one of its sources"
# What `lanser_ops.entailment.score` is once it has its model.
Score = Callable[[Sequence[str], Sequence[str]], Scores]

log = logging.getLogger(__name__)


def transcribe_unit(
    output: str,
    unit: Unit,
    roots: Sequence[str],
    recognize: Callable[[list[Clip]], list[Hypothesis]],
    options: CutOptions,
    pool_seconds: float = POOL_SECONDS["cpu"],
) -> None:
    """Write the unit's transcripts and its rejects.

    A unit that was begun `attempts.MAX_TRIES` times and never finished is set aside: all of it is rejects.
    """
    if storage.exists(storage.join(output, dataset.transcripts_file(unit))):
        return
    rows = read_unit(output, unit)
    if attempts.used_up(output, unit):
        _warn_set_aside(unit, len(rows))
        write_transcripts(output, unit, to_table([], TRANSCRIPT_SCHEMA), transcribe.set_aside(rows, GAVE_UP))
        attempts.forget(output, unit)
        return
    with attempts.attempt(output, unit):
        transcripts, rejects = transcribe.transcribe_rows(rows, roots, recognize, options, pool_seconds)
        write_transcripts(output, unit, to_table(transcripts, TRANSCRIPT_SCHEMA), rejects)


def write_transcripts(output: str, unit: Unit, transcripts: pa.Table, rejects: list[Reject]) -> None:
    """Write the unit's first rejects, then its transcripts; those of another attempt stay as they are.

    Where another attempt was faster, its shard stage may have added rejects since.
    """
    if not storage.exists(storage.join(output, dataset.transcripts_file(unit))):
        _replace_rejects(output, unit, lambda stage: not is_shard_stage(stage), rejects)
        storage.write_table(output, dataset.transcripts_file(unit), transcripts)


def score_unit(output: str, unit: Unit, sets: Sequence[ScoreSet], score: Score) -> int:
    """Write P(entailment) of the unit's transcripts for every hypothesis of every set that lacks it.

    Returns how many pairs the model scored for it.
    """
    pairs = 0
    for one in sets:
        if not storage.exists(storage.join(output, one.file(unit))):
            table = storage.read_table(storage.join(output, dataset.transcripts_file(unit)), ["key", "text"])
            keys, texts = (table.column(name).to_pylist() for name in ("key", "text"))
            pairs += _score(output, one.file(unit), keys, texts, one, score)
    return pairs


def score_null(output: str, sets: Sequence[ScoreSet], score: Score) -> int:
    """Write P(entailment) given the empty premise, for every set that lacks it; returns the pairs scored."""
    return sum(
        _score(output, one.null_file, [""], [""], one, score)
        for one in sets
        if not storage.exists(storage.join(output, one.null_file))
    )


def _score(output: str, name: str, keys: Sequence[str], texts: list[str], one: ScoreSet, score: Score) -> int:
    found = score(texts, one.hypotheses)
    write_scores(output, name, keys, found.entailment, found.truncated)
    return found.pairs_scored


def label_unit(
    output: str, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec, prior: Sequence[float] | None
) -> None:
    """Write the unit's labels, from its stored scores. ``prior`` is a log score a label, None for none."""
    name = dataset.labels_file(spec.taxonomy.name, unit)
    if storage.exists(storage.join(output, name)):
        return
    transcripts = read_transcripts(output, unit)
    by_template, truncated = read_scores(output, [one.file(unit) for one in sets], sets, spec)
    labels = weak_labels.label_utterances(transcripts, by_template, truncated, spec.taxonomy, prior)
    storage.write_table(output, name, to_table(labels, LABEL_SCHEMA))


def corpus_sums(output: str, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec) -> tuple[int, tuple[float, ...]]:
    """The unit's part of the corpus prior: how many utterances count, and their sums of log scores.

    An utterance with a flag does not count: whether it is in the shards depends on --keep-flagged, and the
    prior of a corpus is to be the same before and after it was made into shards.
    """
    by_template, truncated = read_scores(output, [one.file(unit) for one in sets], sets, spec)
    flagged = np.array([bool(one.flags) for one in read_transcripts(output, unit)], dtype=bool)
    return weak_labels.log_sums(weak_labels.average(by_template)[~(truncated | flagged)])


def null_sums(output: str, sets: Sequence[ScoreSet], spec: LabelSpec) -> tuple[int, tuple[float, ...]]:
    """The null prior in the same form: the empty premise counts once."""
    by_template, _ = read_scores(output, [one.null_file for one in sets], sets, spec)
    return weak_labels.log_sums(weak_labels.average(by_template))


def shard_unit(output: str, unit: Unit, roots: Sequence[str], spec: LabelSpec, kept: ShardSpec, asr_model: str) -> None:
    """Write the unit's shard from its recordings, and add what is left out of it to the unit's rejects.

    A unit that was begun `attempts.MAX_TRIES` times and never finished is set aside: all of it is left out.
    Since it has no tar then, a later job begins it again.
    """
    if storage.exists(storage.join(output, dataset.shard_file(spec.taxonomy.name, unit))):
        return
    table = storage.read_table(storage.join(output, dataset.transcripts_file(unit)))
    heard = [None if logprob is None else asr_model for logprob in table.column("avg_logprob").to_pylist()]
    samples, rejects = choose_samples(
        output, unit, spec, kept, table.append_column("asr_model", pa.array(heard, pa.string()))
    )
    if attempts.used_up(output, unit):
        _warn_set_aside(unit, len(samples))
        rejects += [_reject(one, spec, "gave_up", GAVE_UP) for one in samples]
        _replace_rejects(output, unit, shard_stage(spec.taxonomy.name).__eq__, rejects)
        attempts.forget(output, unit)
        return
    chosen = {sample["key"] for sample in samples}
    wanted = [one for one in from_table(table, Transcript) if one.key in chosen]
    with attempts.attempt(output, unit), tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        places, lost = shards.spool_flac(spool, wanted, read_unit(output, unit), roots)
        rejects += [_reject(one, spec, *lost[one["key"]]) for one in samples if one["key"] in lost]
        samples = [one for one in samples if one["key"] in places]

        def flac_of(key: str) -> bytes:
            offset, size = places[key]
            spool.seek(offset)
            return spool.read(size)

        write_shard(output, unit, spec, samples, rejects, flac_of)


def choose_samples(
    output: str, unit: Unit, spec: LabelSpec, kept: ShardSpec, transcripts: pa.Table
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """What goes into the unit's shard, as its JSON has it and in key order, and rejects for what does not.

    ``transcripts`` has the columns of a transcript and ``asr_model``, null where the text was given.
    """
    labels = storage.read_table(storage.join(output, dataset.labels_file(spec.taxonomy.name, unit)))
    samples, rejects = [], []
    for row in shards.sample_rows(transcripts, labels):
        dropped = shards.drop_reason(row, kept)
        if dropped:
            rejects.append(_reject(row, spec, *dropped))
        else:
            samples.append(row)
    return samples, rejects


def write_shard(
    output: str,
    unit: Unit,
    spec: LabelSpec,
    samples: Sequence[dict[str, Any]],
    rejects: list[Reject],
    flac_of: Callable[[str], tars.Buffer],
) -> None:
    """Write the unit's rejects of this taxonomy, then its tar; ``flac_of`` gives the FLAC of a key.

    A unit without a sample gets no tar: an empty one trips readers up.
    """
    _replace_rejects(output, unit, shard_stage(spec.taxonomy.name).__eq__, rejects)
    if samples:
        with storage.atomic_writer(output, dataset.shard_file(spec.taxonomy.name, unit)) as stream:
            tars.write_tar(stream, shards.tar_members(samples, flac_of, spec))


def shard_stage(taxonomy: str) -> str:
    """The ``stage`` of rejects that concern one taxonomy's shards alone."""
    return f"{SHARD_STAGE}{taxonomy}"


def is_shard_stage(stage: str) -> bool:
    """False for the rejects that concern every taxonomy: what never became a transcript."""
    return stage.startswith(SHARD_STAGE)


def read_transcripts(output: str, unit: Unit) -> list[Transcript]:
    return from_table(storage.read_table(storage.join(output, dataset.transcripts_file(unit))), Transcript)


def read_labels(output: str, unit: Unit, taxonomy: str) -> list[WeakLabel]:
    return from_table(storage.read_table(storage.join(output, dataset.labels_file(taxonomy, unit))), WeakLabel)


def _warn_set_aside(unit: Unit, rejects: int) -> None:
    log.warning("unit %d is set aside after %d tries: %d rejects", unit.index, attempts.MAX_TRIES, rejects)


def _reject(row: Mapping[str, Any], spec: LabelSpec, reason: str, detail: str) -> Reject:
    return make_reject(row["source"], row["start_s"], row["end_s"], shard_stage(spec.taxonomy.name), reason, detail)


def _replace_rejects(output: str, unit: Unit, ours: Callable[[str], bool], rejects: list[Reject]) -> None:
    """Put ``rejects`` in the place of those whose stage is ``ours``; those that concern every taxonomy come first."""
    name = dataset.rejects_file(unit)
    there = storage.exists(storage.join(output, name))
    before = from_table(storage.read_table(storage.join(output, name)), Reject) if there else []
    others = [one for one in before if not ours(one.stage)]
    after = sorted([*others, *rejects], key=lambda one: (is_shard_stage(one.stage), one.stage, one.key, one.reason))
    if after != before or not there:
        storage.write_table(output, name, to_table(after, REJECT_SCHEMA))
