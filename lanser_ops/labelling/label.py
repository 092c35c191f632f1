"""One work unit from transcripts to stored scores and weak labels. A step whose file exists is skipped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lanser_ops.common.label_scores import average, log_sums
from lanser_ops.labelling import weak_labels
from lanser_ops.labelling.base import Score
from lanser_ops.labelling.context import CONTEXT_TEXTS, score_in_context, with_context
from lanser_ops.labelling.score_store import read_scores, write_scores
from lanser_ops.output.directory import OutputDir
from schemas.records import LABEL_SCHEMA, Transcript, to_table
from schemas.specs import LabelSpec, ScoreSet
from schemas.units import Unit


def score_unit(out: OutputDir, unit: Unit, sets: Sequence[ScoreSet], score: Score, context: int) -> int:
    """Write the scores of the unit's transcripts, for every set that has none of this unit yet.

    ``context`` is the number of previous utterances in a premise. Returns the number of pairs that the labeller scored.
    """
    pairs = 0
    for score_set in sets:
        if not out.exists(out.scores(score_set, unit)):
            table = out.read_table(out.transcripts(unit), None if context else ["key", "text"])
            table = with_context(table, context)
            keys, texts = (table.column(name).to_pylist() for name in ("key", "text"))
            previous = table.column(CONTEXT_TEXTS).to_pylist() if context else [[]] * len(texts)
            scores = score_in_context(score, texts, previous, score_set.hypotheses)
            write_scores(out, out.scores(score_set, unit), keys, scores.entailment, scores.truncated)
            pairs += scores.pairs_scored
    return pairs


def score_null(out: OutputDir, sets: Sequence[ScoreSet], score: Score) -> int:
    """Write the scores of the empty premise, for every set that has none yet; returns the number of pairs scored."""
    pairs = 0
    for score_set in sets:
        if not out.exists(out.null_scores(score_set)):
            scores = score([""], score_set.hypotheses)
            write_scores(out, out.null_scores(score_set), [""], scores.entailment, scores.truncated)
            pairs += scores.pairs_scored
    return pairs


def label_unit(
    out: OutputDir, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec, prior: Sequence[float] | None
) -> None:
    """Write the unit's labels, from its stored scores. ``prior`` is a mean log score per label, None for none."""
    name = out.labels(spec.taxonomy.name, unit)
    if out.exists(name):
        return
    transcripts = out.read_transcripts(unit)
    by_hypothesis, truncated = _unit_scores(out, unit, sets, spec, transcripts)
    labels = weak_labels.label_utterances(transcripts, by_hypothesis, truncated, spec, prior)
    out.write_table(name, to_table(labels, LABEL_SCHEMA))


def corpus_sums(out: OutputDir, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec) -> tuple[int, tuple[float, ...]]:
    """The unit's part of the corpus prior: the number of utterances that count, and their sums of log scores.

    Flagged utterances do not count: whether they are in the shards depends on --keep-flagged, and a corpus must have
    the same prior before and after it is written to shards.
    """
    transcripts = out.read_transcripts(unit)
    by_hypothesis, truncated = _unit_scores(out, unit, sets, spec, transcripts)
    flagged = np.array([bool(transcript.flags) for transcript in transcripts], dtype=bool)
    entailment = average(weak_labels.of_labels(by_hypothesis, spec.taxonomy))
    return log_sums(entailment[~(truncated | flagged)])


def _unit_scores(
    out: OutputDir, unit: Unit, sets: Sequence[ScoreSet], spec: LabelSpec, transcripts: Sequence[Transcript]
) -> tuple[np.ndarray, np.ndarray]:
    names = [out.scores(score_set, unit) for score_set in sets]
    return read_scores(out, names, sets, spec, [transcript.key for transcript in transcripts])


def null_sums(out: OutputDir, sets: Sequence[ScoreSet], spec: LabelSpec) -> tuple[int, tuple[float, ...]]:
    """The null prior in the form of `corpus_sums`: the empty premise counts as one utterance."""
    by_hypothesis, _ = read_scores(out, [out.null_scores(score_set) for score_set in sets], sets, spec, [""])
    return log_sums(average(weak_labels.of_labels(by_hypothesis, spec.taxonomy)))
