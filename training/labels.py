"""Which labels and which samples of shards are trained on: groups of labels, thresholds and the selection.

All of it is arithmetic on the scores that shards hold, with the definitions of the labeller.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np

from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import aggregated, average
from lanser_ops.common.selection import CANDIDATE, SELECTED, select
from schemas.specs import ShardSpec
from schemas.taxonomy import Taxonomy
from training.shards import Index


def grouped(index: Index, taxonomy: Taxonomy) -> Index:
    """``index`` under the labels of ``taxonomy``, whose hypotheses are among those that its shards hold scores for.

    The scores are those that `lanser relabel` would give; `training.losses.chosen` chooses the labels. Raises
    InputError for a hypothesis without scores.
    """
    column_of = {words: column for column, words in enumerate(chain(*index.hypotheses))}
    missing = [words for words in taxonomy.hypotheses if words not in column_of]
    if missing or index.by_hypothesis is None:
        fault = f"no scores for {missing[0]!r}" if missing else "only means over several templates"
        raise InputError(
            f"--map {taxonomy.name}: the shards of {index.taxonomy} hold {fault}; give a taxonomy whose 'group:' is "
            f"{index.taxonomy}, or use lanser relabel --taxonomy {taxonomy.name}"
        )
    scores = index.by_hypothesis[:, :, [column_of[words] for words in taxonomy.hypotheses]]
    labels = taxonomy.labels
    return replace(
        index,
        taxonomy=taxonomy.name,
        labels=tuple(label.name for label in labels),
        hypotheses=tuple(label.hypotheses for label in labels),
        scoring=replace(index.scoring, absence=taxonomy.absence),
        entailment=average(aggregated(scores, taxonomy.label_of, len(labels), taxonomy.aggregate)),
        by_hypothesis=scores,
        is_grouped=True,
    )


def selected(index: Index, spec: ShardSpec) -> Index:
    """The samples that thresholds and selection leave, as `lanser build` with the same options would leave them.

    Raises InputError if none is left, and for --max-repeats where the shards hold no transcripts.
    """
    if spec.max_repeats is not None and index.words is None:
        raise InputError(
            f"--max-repeats {spec.max_repeats}: shards were written with --redact and hold no transcripts to compare; "
            "leave it out, or give it to the lanser build that writes them"
        )
    rows = np.flatnonzero((index.score >= np.float32(spec.min_score)) & (index.margin >= np.float32(spec.min_margin)))
    candidates = np.empty(len(rows), CANDIDATE)
    # Keys of other writers are no hex digits; the order of the keys decides between equal scores.
    rank_of = {key: rank for rank, key in enumerate(sorted(index.keys))}
    candidates["key"] = [rank_of[index.keys[row]] for row in rows]
    candidates["words"] = 0 if index.words is None else index.words[rows]  # only --max-repeats reads them
    candidates["score"] = index.score[rows]
    candidates["label"] = index.label_index[rows]
    rows = rows[select(candidates, spec) == SELECTED]
    if not len(rows):
        best = f"the best score is {index.score.max():g}, the largest margin {index.margin.max():g}"
        raise InputError(f"--min-score and --min-margin leave none of {len(index.keys)} samples: {best}")
    return taken(index, rows)


def taken(index: Index, rows: np.ndarray) -> Index:
    """The samples ``rows`` (ascending) of ``index``, without shards that then have no samples."""
    shard_of = np.repeat(np.arange(len(index.shards)), index.counts)[rows]
    counts = np.bincount(shard_of, minlength=len(index.shards)).tolist()
    scores = index.by_hypothesis
    return replace(
        index,
        shards=tuple(shard for shard, count in zip(index.shards, counts, strict=True) if count),
        counts=tuple(count for count in counts if count),
        keys=tuple(index.keys[row] for row in rows),
        entailment=index.entailment[rows],
        label_index=index.label_index[rows],
        score=index.score[rows],
        margin=index.margin[rows],
        by_hypothesis=None if scores is None else scores[:, rows],
        words=None if index.words is None else index.words[rows],
    )
