import math

import numpy as np
import pytest
import torch

from training.losses import TargetSpec, cross_entropy, label_prior, make_targets
from training.shards import Index

SCORES = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.6, 0.3, 0.1], [0.4, 0.4, 0.0]], np.float32)


def index() -> Index:
    margin = np.array([0.7, 0.4, 0.3, 0.0], np.float32)
    keys = tuple("abcd")
    return Index(("t",), (4,), keys, "tiny", ("x", "y", "z"), SCORES, np.array([0, 0, 0, 1]), margin)


def made(**spec):
    targets, weights = make_targets(index(), TargetSpec(**spec), label_prior(index()), seed=0)
    return targets.numpy(), weights.tolist()


def test_hard_targets_are_the_stored_labels():
    targets, weights = made()
    assert targets.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert weights == [1, 1, 1, 1]


def test_soft_targets_are_distributions_with_a_temperature():
    targets, _ = made(soft=True)
    assert targets[0] == pytest.approx([0.8, 0.1, 0.1], abs=1e-6)
    assert targets[1] == pytest.approx([0.6, 0.2, 0.2], abs=1e-6)
    flat, _ = made(soft=True, temperature=2.0)
    assert flat[0] == pytest.approx([0.585786, 0.207107, 0.207107], abs=1e-5)


def test_prior_correction_takes_off_what_a_label_scores_on_average():
    # Column means 0.6, 0.25, 0.100025: the first label is no more than usual in the second row.
    targets, _ = made(prior_correction=True)
    assert targets.argmax(axis=1).tolist() == [0, 2, 1, 1]
    soft, _ = made(prior_correction=True, soft=True)
    assert soft[2] == pytest.approx([1 / 3.19975, 1.2 / 3.19975, 0.99975 / 3.19975], abs=1e-4)


def test_margin_weights_have_mean_one():
    _, weights = made(margin_weighting=True)
    assert weights == pytest.approx([2.0, 0.4 / 0.35, 0.3 / 0.35, 0.0], abs=1e-6)


def test_class_balance_gives_every_label_that_occurs_the_same_total():
    _, weights = made(class_balance=True)
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_shuffled_targets_are_the_same_targets_in_another_order():
    straight, _ = made(soft=True)
    shuffled, _ = made(soft=True, shuffle=True)
    assert sorted(map(tuple, straight)) == sorted(map(tuple, shuffled))
    assert straight.tolist() != shuffled.tolist()
    assert np.array_equal(shuffled, made(soft=True, shuffle=True)[0])


def test_cross_entropy_against_a_distribution():
    logits = torch.tensor([[math.log(1), math.log(2), math.log(1)], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    assert cross_entropy(logits, targets).tolist() == pytest.approx([math.log(2), math.log(3)])
