"""Arithmetic on label scores that labelling and training share: rounding, log scores, priors and margins.

A prior is what a label scores whatever was said: its mean log score over a corpus, or its log score on a premise
without content (Zhao et al. 2021, "Calibrate Before Use", arXiv:2102.09690, correct language models that way). NLI
models favour some words for any premise, so a prior may be subtracted before labels are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import numpy as np

# Scores have six significant digits and no use for more: below a millionth, how firmly a label is denied is noise
# that a logarithm would amplify. The floor also keeps out log(0).
SCORE_FLOOR = 1e-6


def round_score(probability: float) -> float:
    """``probability`` at six significant digits, which decimal text and float32 both carry unchanged.

    float32 keeps any decimal of six digits (C's FLT_DIG) in its normal range, so a score is the same number
    whether it is read from JSON or from a Parquet float32 column: ``round_score(float32(round_score(p)))``
    equals ``round_score(p)``. Below that range, where digits are lost, the result is 0.

    >>> round_score(0.123456789)
    0.123457
    """
    return float(f"{probability:.6g}") if probability >= 1.2e-38 else 0.0


def round_scores(values: np.ndarray) -> np.ndarray:
    """`round_score` of every element of ``values``, float32 of the same shape."""
    rounded = [round_score(value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]
    return np.array(rounded, dtype=np.float32).reshape(np.shape(values))


def average(stacked: np.ndarray) -> np.ndarray:
    """Mean over templates, float32 (utterances, labels), of ``stacked``, float32 (templates, utterances, labels)."""
    return stacked[0] if len(stacked) == 1 else round_scores(stacked.mean(axis=0, dtype=np.float64))


def aggregated(scores: np.ndarray, label_of: Sequence[int], labels: int, how: str) -> np.ndarray:
    """Label scores, float32 (…, labels), of the scores of their hypotheses, float32 (…, hypotheses).

    ``label_of`` has the index of every hypothesis's label, in ascending order. ``how``: ``max``; ``mean``; or ``odds``,
    the odds p/(1-p) summed and turned back into a probability. At most one label has no hypotheses, the absence of the
    others: its score is 1 minus their best.
    """
    if list(label_of) == list(range(labels)):
        return scores
    columns: list[list[np.ndarray]] = [[] for _ in range(labels)]
    for label, column in zip(label_of, np.moveaxis(scores.astype(np.float64), -1, 0), strict=True):
        columns[label].append(column)
    by_label = {label: _AGGREGATES[how](group) for label, group in enumerate(columns) if group}
    absence = 1 - _maximum(list(by_label.values()))
    return round_scores(np.stack([by_label.get(label, absence) for label in range(labels)], axis=-1))


def _maximum(columns: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.maximum, columns)


# Columns are added one after the other: the order in which numpy adds along an axis depends on the memory layout of the
# array, and a score must not depend on the utterances that it is computed with.
def _mean(columns: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.add, columns) / len(columns)


def _summed_odds(columns: Sequence[np.ndarray]) -> np.ndarray:
    bounded = [np.clip(column, SCORE_FLOOR, 1 - SCORE_FLOOR) for column in columns]
    odds = reduce(np.add, [probability / (1 - probability) for probability in bounded])
    return odds / (1 + odds)


_AGGREGATES: dict[str, Callable[[Sequence[np.ndarray]], np.ndarray]] = {
    "max": _maximum,
    "mean": _mean,
    "odds": _summed_odds,
}


def log_scores(entailment: np.ndarray) -> np.ndarray:
    """log of ``entailment``, float64 of the same shape, none below log(SCORE_FLOOR)."""
    return np.log(np.maximum(entailment.astype(np.float64), SCORE_FLOOR))


def log_sums(entailment: np.ndarray) -> tuple[int, tuple[float, ...]]:
    """(utterances, sum of log scores per label) of ``entailment``, float32 (utterances, labels).

    The sums are exact before they are rounded, so they do not depend on the order of the utterances.
    """
    return len(entailment), tuple(math.fsum(column) for column in log_scores(entailment).T)


def mean_log_scores(parts: Iterable[tuple[int, int, tuple[float, ...]]]) -> tuple[float, ...]:
    """A prior, the mean log score of every label, from (unit, utterances, sums of log scores) in any order.

    Without utterances it is 0 for every label, which corrects nothing.
    """
    parts = sorted(parts)
    utterances = sum(count for _, count, _ in parts)
    columns = zip(*(sums for _, _, sums in parts), strict=True)
    return tuple(math.fsum(column) / max(1, utterances) for column in columns)


def log_prior(entailment: np.ndarray) -> tuple[float, ...]:
    """The prior of one corpus, a mean log score per label, of ``entailment``, float32 (utterances, labels).

    >>> log_prior(np.array([[0.0, 1.0], [1.0, 1.0]], np.float32))
    (-6.907755278982137, 0.0)
    """
    return mean_log_scores([(0, *log_sums(entailment))])


def corrected(
    entailment: np.ndarray,
    prior: Sequence[float] | None,
    strength: float = 1.0,
    absence: int | None = None,
    threshold: float = 0.0,
    temperature: float = 1.0,
) -> np.ndarray:
    """The scores that labels are ranked by, float32 (utterances, labels): softmax((log s - strength × prior) / T).

    ``entailment`` is float32 (utterances, labels), ``prior`` a mean log score per label (see `log_prior`), None for
    none. A ``strength`` of 0.5 subtracts half of the prior: all of it would give every label about an equal share of
    the corpus, which no corpus has. The label ``absence``, if there is one, has ``threshold`` in the place of its
    log s - strength × prior, so it is ranked first where no other label exceeds the threshold. The ``temperature`` T,
    above 0, scales the confidence and not the ranking: above 1 scores move towards 1 / labels (Guo et al. 2017, "On
    Calibration of Modern Neural Networks", arXiv:1706.04599). With neither a prior nor an absence, and at a
    temperature of 1, ``entailment`` is returned unchanged.
    """
    if prior is None and absence is None and temperature == 1:
        return entailment
    lead = log_scores(entailment) - strength * np.asarray(0.0 if prior is None else prior, dtype=np.float64)
    if absence is not None:
        lead[:, absence] = threshold
    odds = np.exp((lead - lead.max(axis=1, keepdims=True)) / temperature)
    return round_scores(odds / odds.sum(axis=1, keepdims=True))


def margins(ranked: np.ndarray) -> np.ndarray:
    """The lead of each row's best label over the runner-up, float32 (rows,), of ``ranked``, (rows, labels)."""
    ordered = np.sort(ranked, axis=1)
    return round_scores(ordered[:, -1].astype(np.float64) - ordered[:, -2])
