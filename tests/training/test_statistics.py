"""Intervals checked by hand, and how often they hold the true value of simulated data."""

from __future__ import annotations

import numpy as np
import pytest

from lanser_ops.common.errors import InputError
from training.predictions import Prediction
from training.statistics import compare, intervals


def predictions(correct, seed=0, fraction=1.0, labels=("joy", "fear")):
    """For every speaker in ``correct`` a clip per label and number, of which that many are predicted correctly.

    The first speakers are in fold 0, the last one in fold 1.
    """
    rows = []
    for number, (speaker, by_label) in enumerate(correct.items()):
        for label, hits in zip(labels, by_label, strict=True):
            other = labels[1 - labels.index(label)]
            for clip in range(4):
                predicted = label if clip < hits else other
                name = f"{speaker}-{label}-{clip}"
                fold = int(number == len(correct) - 1)
                rows.append(Prediction(fraction, seed, fold, name, speaker, label, predicted, {predicted: 1.0}))
    return rows


def test_figures_are_means_over_seeds_of_all_folds_together():
    rows = predictions({"a": (4, 2), "b": (2, 2)}, seed=0) + predictions({"a": (4, 4), "b": (4, 4)}, seed=1)
    figures = intervals(rows)
    # Seed 0: recalls 6/8 and 4/8; seed 1: both 1.
    assert figures["ua"].estimate == pytest.approx((0.625 + 1) / 2)
    assert figures["wa"].estimate == pytest.approx((10 / 16 + 1) / 2)


def test_speakers_that_are_all_alike_leave_no_doubt():
    rows = predictions({speaker: (3, 1) for speaker in "abcd"})
    assert [intervals(rows)["ua"].low, intervals(rows)["ua"].high] == [0.5, 0.5]


def test_the_interval_of_two_speakers_spans_both():
    """One of the two is drawn, so the draws are the figures of each speaker alone."""
    interval = intervals(predictions({"a": (4, 4), "b": (2, 2)}))["ua"]
    assert (interval.low, interval.estimate, interval.high) == (0.5, 0.75, 1.0)


def test_a_single_speaker_gives_no_interval():
    interval = intervals(predictions({"a": (4, 2)}))["ua"]
    assert (interval.low, interval.estimate, interval.high) == (None, 0.75, None)


def test_a_comparison_is_paired():
    """The speakers differ by 50 points, the arms on each of them by 25: the difference has no spread."""
    arm, baseline = predictions({"a": (4, 4), "b": (2, 2)}), predictions({"a": (3, 3), "b": (1, 1)})
    [comparison] = compare(arm, baseline)
    difference = comparison.difference["ua"]
    assert (difference.low, difference.estimate, difference.high) == (0.25, 0.25, 0.25)
    assert (comparison.arm["ua"].estimate, comparison.baseline["ua"].estimate) == (0.75, 0.5)
    assert (comparison.arm["ua"].low, comparison.arm["ua"].high) == (0.5, 1.0)
    assert comparison.pairs == {(0, 0): 0.25, (0, 1): 0.25}
    assert (comparison.fraction, comparison.seeds, comparison.speakers) == (1.0, (0,), 2)


def test_every_share_of_the_labels_is_compared():
    shares = [predictions({"a": (4, 4), "b": (2, 2)}, fraction=fraction) for fraction in (1.0, 0.1)]
    assert [row.fraction for row in compare(sum(shares, []), sum(shares, []))] == [0.1, 1.0]


def test_arms_of_other_clips_are_refused():
    arm, baseline = predictions({"a": (4, 4), "b": (2, 2)}), predictions({"a": (4, 4), "b": (2, 2)}, seed=1)
    with pytest.raises(InputError, match=r"32 predictions without a partner, first a-fear-0 \(share 1, seed 0, fold 0"):
        compare(arm, baseline)
    with pytest.raises(InputError, match="several shares of the labels; give those of one"):
        intervals(arm + predictions({"a": (4, 4)}, fraction=0.5))


def simulated(generator, seeds, speakers, true_ua):
    """Predictions of 40 clips per speaker whose accuracy varies by seed and by speaker around ``true_ua``."""
    of_seed, of_speaker = generator.normal(0, 0.03, seeds), generator.normal(0, 0.1, speakers)
    rows = []
    for seed in range(seeds):
        for speaker in range(speakers):
            rate = np.clip(true_ua + of_seed[seed] + of_speaker[speaker], 0, 1)
            hits = generator.random((2, 20)) < rate
            for (label, clip), hit in np.ndenumerate(hits):
                names = ("joy", "fear") if hit == (label == 0) else ("fear", "joy")
                gold = ("joy", "fear")[label]
                rows.append(Prediction(1.0, seed, 0, f"{speaker}-{label}-{clip}", str(speaker), gold, names[0], {}))
    return rows


def test_intervals_hold_the_true_value_as_often_as_they_say():
    generator, held = np.random.default_rng(0), 0
    for _ in range(100):
        interval = intervals(simulated(generator, 3, 12, 0.6), draws=400)["ua"]
        held += interval.low <= 0.6 <= interval.high
    assert 90 <= held < 100
