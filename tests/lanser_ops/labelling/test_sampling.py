"""Samples for people: each label's places, the weights, and that another order changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lanser_ops.labelling.sampling import draw, places

LABELS = np.repeat([0, 1, 2, 4], [900, 80, 15, 5])
KEYS = [f"{number:016x}" for number in range(1000)]
SCORES = np.random.default_rng(0).random(1000).astype(np.float32)


@pytest.mark.parametrize(
    ("sizes", "rows", "expected"),
    [
        ([900, 80, 15, 0, 5], 100, [67, 16, 12, 0, 5]),
        ([900, 80, 15, 0, 5], 4, [4, 0, 0, 0, 0]),
        ([10, 10], 7, [4, 3]),
        ([3, 2], 100, [3, 2]),
        ([0, 0], 5, [0, 0]),
    ],
)
def test_a_label_has_its_share_and_a_floor(sizes: list[int], rows: int, expected: list[int]):
    assert places(sizes, rows) == expected


def test_weights_count_the_corpus():
    drawn = draw(KEYS, LABELS, SCORES, 100, seed=1)
    assert len({index for index, _ in drawn}) == len(drawn) == 100
    counted = np.zeros(5)
    for index, weight in drawn:
        counted[LABELS[index]] += weight
    assert counted.tolist() == [900, 80, 15, 0, 5]


def test_a_sample_reaches_across_the_scores():
    scores = [SCORES[index] for index, _ in draw(KEYS, LABELS, SCORES, 100, seed=1) if LABELS[index] == 0]
    quarters = np.histogram(scores, np.quantile(SCORES[LABELS == 0], [0, 0.25, 0.5, 0.75, 1]))[0]
    assert quarters.min() >= len(scores) // 4 - 1


def test_weighted_means_are_those_of_the_corpus():
    quantity = SCORES * (LABELS + 1)
    estimates = [
        sum(weight * quantity[index] for index, weight in draw(KEYS, LABELS, SCORES, 40, seed)) / 1000
        for seed in range(50)
    ]
    assert np.mean(estimates) == pytest.approx(quantity.mean(), rel=0.01)
    unweighted = np.mean([quantity[index] for index, _ in draw(KEYS, LABELS, SCORES, 40, 0)])
    assert unweighted > 1.5 * quantity.mean()


def test_a_sample_depends_on_keys_and_seed_and_not_on_the_order():
    drawn = [(KEYS[index], weight) for index, weight in draw(KEYS, LABELS, SCORES, 50, seed=7)]
    order = np.random.default_rng(1).permutation(1000)
    shuffled = [KEYS[index] for index in order]
    again = [(shuffled[index], weight) for index, weight in draw(shuffled, LABELS[order], SCORES[order], 50, seed=7)]
    assert again == drawn
    assert drawn != [(KEYS[index], weight) for index, weight in draw(KEYS, LABELS, SCORES, 50, seed=8)]
