"""Label options fitted on what people labelled, one after the other, and what each gains out of sample.

An option's value is fitted on nine tenths of the rows and judged on the rest, ten times, so no row judges a value that
it helped to fit. The gain over the value in use comes with a bootstrap interval (Efron & Tibshirani 1993, "An
Introduction to the Bootstrap", percentile intervals), rows being drawn again within each weak label, as the sample was.
Every figure is weighted, so that it holds for the corpus and not for the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lanser_ops.common.label_scores import SCORE_FLOOR, corrected, margins
from schemas import metrics

FOLDS = 10
REPLICATES = 1000
# Precision on fewer rows than this says nothing about a threshold.
MIN_ROWS = 10
# Where an option is looked for. Steps are coarse: a few hundred rows cannot tell finer ones apart.
GRIDS: Mapping[str, tuple[float, ...]] = {
    "prior_strength": tuple(round(step / 20, 2) for step in range(21)),
    "neutral_threshold": tuple(step / 4 for step in range(-12, 13)),
    "temperature": tuple(float(f"{value:.2g}") for value in np.geomspace(0.2, 5, 33)),
    "min_score": tuple(round(step / 50, 2) for step in range(50)),
    "min_margin": tuple(round(step / 50, 2) for step in range(50)),
}
BINS = 10


@dataclass(frozen=True)
class LabelledRows:
    """Rows that people labelled.

    ``entailment`` is float32 (rows, labels), never corrected; ``truth`` has the people's labels, int64, ``weight`` how
    many utterances of the corpus each row stands for, float64, and ``stratum`` the group that it was drawn from, int64,
    all (rows,). ``prior`` is that of the whole corpus; ``absence`` the index of the label without hypotheses.
    """

    entailment: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    stratum: np.ndarray
    prior: tuple[float, ...]
    absence: int | None


@dataclass(frozen=True)
class Values:
    """Options of `LabelSpec` that decide label and score."""

    prior_strength: float
    neutral_threshold: float
    temperature: float


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_gain(self) -> bool:
        return self.low > 0


@dataclass(frozen=True)
class Fit:
    """An option fitted on all rows, and what it does out of sample.

    ``before`` and ``after`` have figures by name, ``gains`` the differences that count as better, ``decisive`` the
    figure that the option was fitted for.
    """

    option: str
    current: float
    fitted: float
    decisive: str
    before: Mapping[str, Interval]
    after: Mapping[str, Interval]
    gains: Mapping[str, Interval]

    @property
    def is_gain(self) -> bool:
        return self.gains[self.decisive].is_gain


def ranked(rows: LabelledRows, values: Values) -> np.ndarray:
    """The scores that a build with ``values`` ranks labels by, float32 (rows, labels)."""
    return corrected(
        rows.entailment,
        rows.prior if values.prior_strength else None,
        values.prior_strength,
        rows.absence,
        values.neutral_threshold,
        values.temperature,
    )


def predicted(rows: LabelledRows, values: Values) -> np.ndarray:
    """The labels that a build with ``values`` gives, int64 (rows,)."""
    return ranked(rows, replace(values, temperature=1.0)).argmax(axis=1)


def agreement(rows: LabelledRows, labels: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """`metrics.scores` of ``labels``, int64 (rows,), if row i counts ``weight[i]`` times."""
    count = rows.entailment.shape[1]
    cells = np.bincount(rows.truth * count + labels, weight, minlength=count * count)
    return metrics.scores(cells.reshape(count, count))


def confidence(rows: LabelledRows, scores: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Log loss (nats) of ``scores``, (rows, labels), and the expected calibration error of those of ``labels``.

    The error is the mean distance of score and accuracy in ten bins of the score (Guo et al. 2017, arXiv:1706.04599).
    """
    positions = np.arange(len(labels))
    losses = -np.log(np.maximum(scores[positions, rows.truth].astype(np.float64), SCORE_FLOOR))
    score = scores[positions, labels].astype(np.float64)
    bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    excess = np.bincount(bins, weight * ((labels == rows.truth) - score), minlength=BINS)
    total = weight.sum()
    return {"log_loss": float(weight @ losses / total), "calibration_error": float(np.abs(excess).sum() / total)}


def folds(truth: np.ndarray) -> np.ndarray:
    """The fold of every row, int64 (rows,), of ``truth``: the rows of each label are spread over all folds."""
    order = np.argsort(truth, kind="stable")
    fold = np.empty(len(truth), np.int64)
    fold[order] = np.arange(len(truth)) % FOLDS
    return fold


def replicates(rows: LabelledRows) -> np.ndarray:
    """Weights of bootstrap replicates, float64 (REPLICATES, rows)."""
    generator = np.random.default_rng(0)
    counts = np.zeros((REPLICATES, len(rows.truth)))
    for stratum in np.unique(rows.stratum):
        members = np.flatnonzero(rows.stratum == stratum)
        counts[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), REPLICATES)
    return counts * rows.weight


def interval(value: float, samples: Sequence[float]) -> Interval:
    low, high = np.percentile(samples, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def fit_labels(rows: LabelledRows, option: str, values: Values, objective: str = "macro_f1") -> Fit:
    """Fit an option that decides labels, for a figure of `agreement`; the others keep their ``values``."""
    labels = {value: predicted(rows, replace(values, **{option: value})) for value in GRIDS[option]}
    current = getattr(values, option)

    def best(weight: np.ndarray) -> float:
        score = {value: agreement(rows, labels[value], weight)[objective] for value in labels}
        return max(score, key=lambda value: (score[value], -abs(value - current)))

    before = predicted(rows, values)
    after = np.empty_like(before)
    for held_out in _held_out(rows):
        after[held_out] = labels[best(np.where(held_out, 0.0, rows.weight))][held_out]
    compared = _compared(
        rows, lambda weight: agreement(rows, before, weight), lambda weight: agreement(rows, after, weight), sign=1
    )
    return Fit(option, current, best(rows.weight), objective, *compared)


def fit_temperature(rows: LabelledRows, values: Values) -> Fit:
    """Fit the temperature, for log loss; the labels stay those of ``values``."""
    labels = predicted(rows, values)
    scores = {value: ranked(rows, replace(values, temperature=value)) for value in GRIDS["temperature"]}

    def best(weight: np.ndarray) -> float:
        return min(scores, key=lambda value: confidence(rows, scores[value], labels, weight)["log_loss"])

    before = ranked(rows, values)
    after = np.empty_like(before)
    for held_out in _held_out(rows):
        after[held_out] = scores[best(np.where(held_out, 0.0, rows.weight))][held_out]
    compared = _compared(
        rows,
        lambda weight: confidence(rows, before, labels, weight),
        lambda weight: confidence(rows, after, labels, weight),
        sign=-1,
    )
    return Fit("temperature", values.temperature, best(rows.weight), "log_loss", *compared)


def fit_threshold(rows: LabelledRows, values: Values, precision: float) -> Fit | None:
    """Fit the threshold that keeps the most utterances at ``precision``, of min_score and min_margin the better one.

    None where no threshold reaches it, or none that keeps any row that it was not fitted on.
    """
    scores, labels = ranked(rows, values), predicted(rows, values)
    is_correct = labels == rows.truth
    confidences = {"min_score": scores[np.arange(len(labels)), labels], "min_margin": margins(scores)}

    def best(weight: np.ndarray) -> tuple[str, float] | None:
        candidates = []
        for option, certainty in confidences.items():
            for value in GRIDS[option]:
                stays = (certainty >= value) & (weight > 0)
                if (
                    stays.sum() >= MIN_ROWS
                    and (figures := selected(weight, stays, is_correct))["precision"] >= precision
                ):
                    candidates.append((figures["share"], option, value))
                    break
        return max(candidates, key=lambda candidate: candidate[0])[1:] if candidates else None

    stays = np.zeros(len(labels), bool)
    for held_out in _held_out(rows):
        fitted = best(np.where(held_out, 0.0, rows.weight))
        if fitted is not None:
            stays |= held_out & (confidences[fitted[0]] >= fitted[1])
    chosen = best(rows.weight)
    if chosen is None or not stays.any():
        return None
    compared = _compared(
        rows,
        lambda weight: selected(weight, np.ones(len(labels), bool), is_correct),
        lambda weight: selected(weight, stays, is_correct),
        sign=1,
    )
    return Fit(chosen[0], 0.0, chosen[1], "precision", *compared)


def thresholds(rows: LabelledRows, values: Values, scores: Sequence[float]) -> dict[float, dict[str, Interval]]:
    """Figures of `selected` for each of ``scores`` as min_score, as far as some row has it."""
    by_label, labels = ranked(rows, values), predicted(rows, values)
    score, is_correct = by_label[np.arange(len(labels)), labels], labels == rows.truth
    weights = replicates(rows)
    table = {}
    for threshold in scores:
        stays = score >= threshold
        if stays.any():
            value = selected(rows.weight, stays, is_correct)
            samples = [selected(weight, stays, is_correct) for weight in weights]
            table[threshold] = {name: interval(value[name], [sample[name] for sample in samples]) for name in value}
    return table


def selected(weight: np.ndarray, stays: np.ndarray, is_correct: np.ndarray) -> dict[str, float]:
    """The share of utterances that stay, and the precision: the share of those whose label is correct, 0 of none."""
    total = weight[stays].sum()
    return {
        "precision": float(weight[stays & is_correct].sum() / total) if total else 0.0,
        "share": float(total / weight.sum()),
    }


def _held_out(rows: LabelledRows) -> list[np.ndarray]:
    """Which rows each fold holds out, bool (rows,)."""
    fold = folds(rows.truth)
    return [fold == number for number in range(FOLDS)]


def _compared(
    rows: LabelledRows,
    before: Callable[[np.ndarray], Mapping[str, float]],
    after: Callable[[np.ndarray], Mapping[str, float]],
    sign: int,
) -> tuple[dict[str, Interval], dict[str, Interval], dict[str, Interval]]:
    """The figures that ``before`` and ``after`` give for weights, and the gains; ``sign`` -1: less is better."""
    first, second = before(rows.weight), after(rows.weight)
    samples = [(before(weight), after(weight)) for weight in replicates(rows)]
    return (
        {name: interval(first[name], [sample[name] for sample, _ in samples]) for name in first},
        {name: interval(second[name], [sample[name] for _, sample in samples]) for name in first},
        {
            name: interval(
                sign * (second[name] - first[name]),
                [sign * (later[name] - earlier[name]) for earlier, later in samples],
            )
            for name in first
        },
    )
