"""How sure a figure is, and a difference between two arms: bootstrap over speakers and seeds.

Clips of a speaker resemble each other, so speakers are drawn and not clips, as in Bisani and Ney 2004 ("Bootstrap
estimates for confidence intervals in ASR performance evaluation", ICASSP); with several seeds, seeds are drawn as well
and independently, since every seed is tested on every speaker (Owen 2007, "The pigeonhole bootstrap",
https://arxiv.org/abs/0712.1111). Two arms are compared on the same draws.

From n speakers or seeds n - 1 are drawn, with which the bootstrap's variance is that of a sample (Rao and Wu 1988,
"Resampling inference with complex survey data", JASA 83). Percentiles of a normal distribution are too narrow for few
seeds. They are widened to those of Student's t (Hesterberg 2015, "What teachers should know about the bootstrap",
https://arxiv.org/abs/1411.5279, expanded percentiles), with the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lanser_ops.common.errors import InputError
from schemas.metrics import FIGURES, confusion, score_arrays
from training.predictions import Prediction

CONFIDENCE = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with the limits of its interval at CONFIDENCE; a single speaker gives no limits."""

    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Two arms at one share of the labels.

    ``arm``, ``baseline`` and ``difference`` (arm - baseline) are by figure; ``pairs`` has the difference in UA of every
    (seed, fold).
    """

    fraction: float
    seeds: tuple[int, ...]
    speakers: int
    arm: dict[str, Interval]
    baseline: dict[str, Interval]
    difference: dict[str, Interval]
    pairs: dict[tuple[int, int], float]


@dataclass(frozen=True)
class _Draws:
    """How often every seed (draws, seeds) and speaker (draws, speakers) is drawn; the first draw is everything once."""

    seeds: np.ndarray
    speakers: np.ndarray


def intervals(predictions: Sequence[Prediction], draws: int = DRAWS, random_seed: int = 0) -> dict[str, Interval]:
    """UA, WA and macro-F1 with their intervals.

    A figure is the mean over seeds, of all folds of a seed together. ``predictions`` are those of one share of the
    labels; a clip without a speaker counts as a speaker of its own. Raises InputError for several shares.
    """
    if len({row.fraction for row in predictions}) != 1:
        raise InputError("predictions of several shares of the labels; give those of one")
    counts, _ = _count(predictions, _labels(predictions))
    return _intervals([counts], draws, random_seed)[0]


def compare(
    arm: Sequence[Prediction], baseline: Sequence[Prediction], draws: int = DRAWS, random_seed: int = 0
) -> list[Comparison]:
    """The arms at every share of the labels, paired by seed, fold and clip.

    Raises InputError unless both arms have predictions of the same clips at the same shares, seeds and folds.
    """
    unpaired = sorted(set(map(_pair, arm)) ^ set(map(_pair, baseline)))
    if unpaired:
        fraction, seed, fold, clip, _ = unpaired[0]
        raise InputError(
            f"{len(unpaired)} predictions without a partner, first {clip} (share {fraction:g}, seed {seed}, fold "
            f"{fold}); give two arms with the same data, --label-fraction, --seeds and --folds"
        )
    comparisons = []
    for fraction in sorted({row.fraction for row in arm}):
        rows, partners = ([row for row in side if row.fraction == fraction] for side in (arm, baseline))
        labels = _labels([*rows, *partners])
        (first, seeds), (second, _) = (_count(side, labels) for side in (rows, partners))
        of_arm, of_baseline, difference = _intervals([first, second], draws, random_seed)
        comparisons.append(
            Comparison(fraction, seeds, first.shape[1], of_arm, of_baseline, difference, _by_fold(rows, partners))
        )
    return comparisons


def _pair(row: Prediction) -> tuple[float, int, int, str, str]:
    return row.fraction, row.seed, row.fold, row.clip, row.gold


def _labels(predictions: Sequence[Prediction]) -> dict[str, int]:
    names = {name for row in predictions for name in (row.gold, row.predicted)}
    return {name: index for index, name in enumerate(sorted(names))}


def _count(predictions: Sequence[Prediction], labels: dict[str, int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Confusion matrices, int64 (seeds, speakers, labels, labels), and the seeds."""
    seeds = sorted({row.seed for row in predictions})
    speakers = sorted({row.speaker or row.clip for row in predictions})
    seed_of, speaker_of = ({name: index for index, name in enumerate(names)} for names in (seeds, speakers))
    counts = np.zeros((len(seeds), len(speakers), len(labels), len(labels)), np.int64)
    for row in predictions:
        place = seed_of[row.seed], speaker_of[row.speaker or row.clip], labels[row.gold], labels[row.predicted]
        counts[place] += 1
    return counts, tuple(seeds)


def _intervals(arms: Sequence[np.ndarray], draws: int, random_seed: int) -> list[dict[str, Interval]]:
    """For every arm's counts, and for the first minus the second if there are two, intervals by figure."""
    generator = np.random.default_rng(random_seed)
    seeds, speakers = arms[0].shape[:2]
    drawn = _Draws(_draw(generator, seeds, draws), _draw(generator, speakers, draws))
    every = _Draws(np.ones_like(drawn.seeds), np.ones_like(drawn.speakers))
    # Both levels, and each alone: their shares of the variance decide how many degrees of freedom there are.
    levels = (drawn, _Draws(drawn.seeds, every.speakers), _Draws(every.seeds, drawn.speakers))
    by_arm = [[_figures(counts, level) for level in levels] for counts in arms]
    if len(by_arm) == 2:
        by_arm.append(
            [{name: a[name] - b[name] for name in FIGURES} for a, b in zip(by_arm[0], by_arm[1], strict=True)]
        )
    return [
        {name: _interval([level[name] for level in of_arm], (seeds - 1, speakers - 1)) for name in FIGURES}
        for of_arm in by_arm
    ]


def _draw(generator: np.random.Generator, number: int, draws: int) -> np.ndarray:
    """How often each of ``number`` is drawn, int64 (1 + draws, number): first each once, then number - 1 at random."""
    size = max(1, number - 1)
    return np.vstack([np.ones(number, np.int64), generator.multinomial(size, [1 / number] * number, draws)])


def _figures(counts: np.ndarray, draws: _Draws) -> dict[str, np.ndarray]:
    """Every figure, float64 (draws,): the mean over the seeds drawn, each of the speakers drawn together."""
    by_figure = score_arrays(np.einsum("bs,kslm->bklm", draws.speakers, counts, optimize=True))
    return {name: np.average(values, axis=1, weights=draws.seeds) for name, values in by_figure.items()}


def _interval(levels: Sequence[np.ndarray], freedoms: tuple[int, int]) -> Interval:
    """From figures (draws,) of draws of both levels, of seeds alone and of speakers alone.

    ``freedoms`` are the degrees of freedom of seeds and of speakers.
    """
    both, *single = levels
    estimate = float(both[0])
    if not freedoms[1]:
        return Interval(estimate, None, None)
    variances = [float(np.var(figures[1:])) for figures in single]
    shares = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True) if freedom)
    freedom = sum(variances) ** 2 / shares if shares else float(freedoms[1])
    tail = stats.norm.cdf(-stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    low, high = np.quantile(both[1:], [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def _by_fold(arm: Sequence[Prediction], baseline: Sequence[Prediction]) -> dict[tuple[int, int], float]:
    """The difference in UA of every (seed, fold)."""
    labels = _labels([*arm, *baseline])
    by_side = []
    for side in (arm, baseline):
        of_model: dict[tuple[int, int], list[Prediction]] = {}
        for row in side:
            of_model.setdefault((row.seed, row.fold), []).append(row)
        by_side.append({model: _ua(rows, labels) for model, rows in sorted(of_model.items())})
    return {model: value - by_side[1][model] for model, value in by_side[0].items()}


def _ua(rows: Sequence[Prediction], labels: dict[str, int]) -> float:
    gold, predicted = [labels[row.gold] for row in rows], [labels[row.predicted] for row in rows]
    return float(score_arrays(confusion(gold, predicted, len(labels)))["ua"])
