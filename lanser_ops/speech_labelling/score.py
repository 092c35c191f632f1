"""One work unit from audio to stored scores of a speech model, one file per unit and model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.audio.recordings import Lost, read_utterances
from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import round_score
from lanser_ops.corpus.plan import read_unit
from lanser_ops.output import attempts
from lanser_ops.output.directory import OutputDir
from lanser_ops.speech_labelling.base import SpeechLabeller
from schemas.records import SPEECH_SCHEMA, SPEECH_SCORE_SCHEMA
from schemas.specs import SpeechSpec
from schemas.units import StageCounts, Unit

Clip = tuple[str, np.ndarray]  # key, float32 (samples,)
SCORES = SPEECH_SCHEMA.field("speech_scores")


def score_audio(
    out: OutputDir, unit: Unit, roots: Sequence[str], spec: SpeechSpec, labeller: SpeechLabeller
) -> StageCounts:
    """Write the scores of the unit's utterances, null for those whose audio cannot be read any more.

    Every recording is decoded once, as a stream, and about ``labeller.pool_seconds`` of audio are held. A unit that was
    begun too often (`attempts.used_up`) is left alone: writing its shard sets it aside. Raises InputError for a model
    whose scores are not probabilities.
    """
    name = out.speech_scores(spec.model, unit)
    if out.exists(name) or attempts.used_up(out, unit):
        return StageCounts()
    transcripts = out.read_transcripts(unit)
    with attempts.attempt(out, unit):
        utterances = read_utterances(transcripts, read_unit(out, unit), roots)
        clips = ((each.key, samples) for each, samples in utterances if not isinstance(samples, Lost))
        scores = {}
        for pool in _pools(clips, labeller.pool_seconds):
            rows = labeller.score([samples for _, samples in pool])
            if rows.shape != (len(pool), len(spec.classes)) or not ((rows >= 0) & (rows <= 1)).all():
                raise InputError(
                    f"speech model {spec.model.id}: gives no score from 0 to 1 for each class; use another"
                )
            for (key, _), row in zip(pool, rows.tolist(), strict=True):
                scores[key] = [round_score(value) for value in row]
        keys = [transcript.key for transcript in transcripts]
        columns = {"key": keys, SCORES.name: [scores.get(key) for key in keys]}
        out.write_table(name, pa.table(columns, schema=SPEECH_SCORE_SCHEMA))
    return StageCounts()


def with_scores(out: OutputDir, unit: Unit, table: pa.Table, spec: SpeechSpec) -> pa.Table:
    """``table`` of the unit's utterances with the columns of SPEECH_SCHEMA, null where there are no stored scores."""
    name = out.speech_scores(spec.model, unit)
    stored = out.read_table(name) if out.exists(name) else SPEECH_SCORE_SCHEMA.empty_table()
    scores = stored.column(SCORES.name).take(pc.index_in(table.column("key"), stored.column("key"))).to_pylist()
    constants = {"speech_model": spec.model.id, "speech_labels": list(spec.classes)}
    columns = {column: [row and value for row in scores] for column, value in constants.items()}
    for column, values in {**columns, SCORES.name: scores}.items():
        table = table.append_column(SPEECH_SCHEMA.field(column), pa.array(values, SPEECH_SCHEMA.field(column).type))
    return table


def _pools(clips: Iterable[Clip], seconds: float) -> Iterator[list[Clip]]:
    """``clips`` in pools that end with the clip that reaches ``seconds`` of audio."""
    pool: list[Clip] = []
    samples = 0
    for clip in clips:
        pool.append(clip)
        samples += len(clip[1])
        if samples >= seconds * SAMPLE_RATE:
            yield pool
            pool, samples = [], 0
    if pool:
        yield pool
