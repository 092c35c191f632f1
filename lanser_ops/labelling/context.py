"""The context of an utterance: the utterances before it, which stand before its transcript in the premise.

They are those of the same dialogue, or of the same recording where the manifest names no dialogue. Context is taken
from all transcripts of a unit, also from those that are left out of the shards later.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lanser_ops.labelling.base import Score, Scores

CONTEXT_TEXTS = "context_texts"
# What decides which utterances come before another one.
_ORDER = ("key", "text", "source", "start_s", "end_s")


def previous_texts(
    texts: Sequence[str], groups: Sequence[Hashable], order: Sequence[Any], context: int
) -> list[list[str]]:
    """For every text, up to ``context`` texts before it in its group, the oldest first.

    ``groups`` names the recording or dialogue of each text, ``order`` sorts those of a group.

    >>> previous_texts(["c", "x", "a", "b"], [1, 2, 1, 1], [3, 1, 1, 2], context=2)
    [['a', 'b'], [], [], ['a']]
    """
    by_group: dict[Hashable, list[str]] = {}
    previous: list[list[str]] = [[] for _ in texts]
    for index in sorted(range(len(texts)), key=lambda index: order[index]):
        earlier = by_group.setdefault(groups[index], [])
        previous[index] = earlier[max(0, len(earlier) - context) :]
        earlier.append(texts[index])
    return previous


def with_context(transcripts: pa.Table, context: int) -> pa.Table:
    """``transcripts`` with a column ``context_texts`` of up to ``context`` previous utterances; without it for 0.

    Transcripts from a shard have that column already, for the context of the job that wrote it, which must not be
    smaller; it is then cut.
    """
    if CONTEXT_TEXTS in transcripts.column_names:
        stored = transcripts.column(CONTEXT_TEXTS).to_pylist()
        transcripts = transcripts.drop_columns([CONTEXT_TEXTS])
        previous = [texts[max(0, len(texts) - context) :] for texts in stored]
    elif context:
        previous = _previous_of_unit(transcripts, context)
    if not context:
        return transcripts
    return transcripts.append_column(CONTEXT_TEXTS, pa.array(previous, pa.list_(pa.string())))


def _previous_of_unit(transcripts: pa.Table, context: int) -> list[list[str]]:
    keys, texts, sources, starts, ends = (transcripts.column(name).to_pylist() for name in _ORDER)
    none = [None] * len(transcripts)
    dialogues, turns = (
        transcripts.column(name).to_pylist() if name in transcripts.column_names else none
        for name in ("dialogue", "turn")
    )
    groups = [
        ("recording", source) if dialogue is None else ("dialogue", dialogue)
        for source, dialogue in zip(sources, dialogues, strict=True)
    ]
    # A row of a dialogue may be cut into several utterances, which share its turn.
    order = list(zip([turn or 0 for turn in turns], starts, ends, keys, strict=True))
    return previous_texts(texts, groups, order, context)


def score_in_context(
    score: Score, texts: Sequence[str], previous: Sequence[Sequence[str]], hypotheses: Sequence[str]
) -> Scores:
    """Score every hypothesis given every text with its ``previous`` texts before it, joined by spaces.

    Labellers cut a premise at its end, where the transcript is. So where a premise is too long beside a hypothesis, the
    oldest texts are left out until the rest fits: a score depends on its text, its context and its hypothesis alone.
    ``truncated`` says which texts are too long without any context.
    """
    scores = score([_premise(*pair) for pair in zip(previous, texts, strict=True)], hypotheses)
    too_long = [row for row in np.flatnonzero(scores.truncated).tolist() if previous[row]]
    if not too_long:
        return scores
    entailment, truncated, pairs = scores.entailment.copy(), scores.truncated.copy(), scores.pairs_scored
    truncated[too_long] = False
    for column, hypothesis in enumerate(hypotheses):
        rows, left_out = too_long, 0
        while rows:
            part = score([_premise(previous[row][left_out:], texts[row]) for row in rows], [hypothesis])
            pairs += part.pairs_scored
            entailment[rows, column] = part.entailment[:, 0]
            cut = [row for row, is_cut in zip(rows, part.truncated.tolist(), strict=True) if is_cut]
            truncated[[row for row in cut if len(previous[row]) == left_out]] = True
            left_out += 1
            rows = [row for row in cut if len(previous[row]) >= left_out]
    return Scores(entailment, truncated, pairs)


def _premise(previous: Sequence[str], text: str) -> str:
    return " ".join([*previous, text])
