from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import log_sums, mean_log_scores, round_scores
from lanser_ops.labelling.weak_labels import label_utterances, of_labels
from schemas.records import Transcript, WeakLabel
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import Label, Taxonomy
from training.losses import TargetSpec, cross_entropy, label_prior, make_targets
from training.shards import Index, Scoring

SCORES = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.6, 0.3, 0.1], [0.4, 0.4, 0.0]], np.float32)


def index(prior="none") -> Index:
    margin = np.array([0.7, 0.4, 0.3, 0.0], np.float32)
    scoring = Scoring(prior, 0.0 if prior == "none" else 1.0)
    return make_index(SCORES, np.array([0, 0, 0, 1]), margin, scoring)


def make_index(entailment, label_index, margin, scoring) -> Index:
    keys = tuple(f"{row:016x}" for row in range(len(entailment)))
    return Index(
        ("t",), (len(keys),), keys, "tiny", ("x", "y", "z"), scoring, entailment, label_index, entailment.max(axis=1),
        margin, (("x",), ("y",), ("z",)), entailment[None], np.arange(len(keys)).astype(np.uint64),
    )  # fmt: skip


def targets_of(prior="none", **options):
    spec = TargetSpec(**options)
    targets, weights = make_targets(index(prior), spec, label_prior(index(prior), spec), seed=0)
    return targets.numpy(), weights.tolist()


def test_hard_targets_are_the_stored_labels():
    targets, weights = targets_of()
    assert targets.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert weights == [1, 1, 1, 1]


def test_soft_targets_are_distributions_with_a_temperature():
    targets, _ = targets_of(soft=True)
    assert targets[0] == pytest.approx([0.8, 0.1, 0.1], abs=1e-6)
    assert targets[1] == pytest.approx([0.6, 0.2, 0.2], abs=1e-6)
    flat, _ = targets_of(soft=True, temperature=2.0)
    assert flat[0] == pytest.approx([0.585786, 0.207107, 0.207107], abs=1e-5)


def test_prior_correction_subtracts_the_mean_log_score():
    # The geometric means are 0.58259, 0.22134 and, with the 0 raised to 1e-6, 0.0066874.
    soft, _ = targets_of(prior_strength=1.0, soft=True)
    assert soft[0] == pytest.approx([1.37318 / 16.7785, 0.451801 / 16.7785, 14.9535 / 16.7785], abs=1e-4)
    targets, _ = targets_of(prior_strength=1.0)
    assert targets.argmax(axis=1).tolist() == [2, 2, 2, 1]


def entailment(samples=50):
    scores = np.random.default_rng(0).dirichlet([3.0, 1.0, 0.3], samples)
    scores[7] = [1.0, 0.0, 0.0]
    return round_scores(scores)


def labelled(
    prior: str, strength: float, is_absence: bool = False, temperature: float = 1.0
) -> tuple[Index, list[WeakLabel]]:
    """What `lanser label` writes for `entailment`, and the trainer's index of it; "z" may be the absence of the others.

    The threshold is one that about half of the utterances exceed.
    """
    scores, threshold = entailment(), -0.3 if is_absence else 0.0
    hypotheses = [(name,) for name in "xyz"]
    if is_absence:
        scores, hypotheses[2] = scores[:, :2], ()
    taxonomy = Taxonomy("tiny", tuple(map(Label, "xyz", hypotheses)), None, "tiny.yaml")
    spec = LabelSpec(
        taxonomy, ("{}",), ModelRef("tiny", "0" * 64, ""), prior=prior, prior_strength=strength,
        neutral_threshold=threshold, temperature=temperature,
    )  # fmt: skip
    transcripts = [
        Transcript(f"{row:016x}", "a.wav", 0.0, 1.0, 1.0, "text", None, None, None, None, (), None)
        for row in range(len(scores))
    ]
    log_prior = None
    if prior == "corpus":
        log_prior = mean_log_scores([(0, *log_sums(of_labels(scores, taxonomy)))])
    labels = label_utterances(transcripts, scores[None], np.zeros(len(scores), bool), spec, log_prior)
    index = make_index(
        np.array([label.entailment for label in labels], np.float32),
        np.array([label.label_index for label in labels]), np.array([label.margin for label in labels], np.float32),
        Scoring(prior, strength, threshold, taxonomy.absence, temperature),
    )  # fmt: skip
    return index, labels


STRENGTHS = [(1.0, False), (0.5, False), (0.0, False), (1.0, True), (0.5, True)]


@pytest.mark.parametrize(("strength", "is_absence"), STRENGTHS)
def test_another_strength_gives_the_labels_of_labelling_with_it(strength, is_absence):
    """Labels and margins of shards with one strength become those of shards with another."""
    other, other_labels = labelled("corpus", 0.25, is_absence)
    _, labels = labelled("corpus" if strength else "none", strength, is_absence)
    assert [label.margin for label in labels] != [label.margin for label in other_labels]
    spec = TargetSpec(prior_strength=strength, margin_weighting=True)
    targets, weights = make_targets(other, spec, label_prior(other, spec), seed=0)
    assert targets.argmax(dim=1).tolist() == [label.label_index for label in labels]
    margins = np.array([label.margin for label in labels])
    assert weights.numpy() == pytest.approx(margins / margins.mean(), rel=1e-4)
    assert len({label.label for label in labels}) > 1


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize(("strength", "is_absence"), STRENGTHS)
def test_targets_of_shards_are_the_labels_that_they_hold(strength, is_absence, is_asked):
    """Bug: soft targets ignored the prior of their shards."""
    index, labels = labelled("corpus" if strength else "none", strength, is_absence)
    asked = strength if is_asked else None
    soft = TargetSpec(soft=True, prior_strength=asked)
    targets, _ = make_targets(index, soft, label_prior(index, soft), seed=0)
    assert targets.argmax(dim=1).tolist() == [label.label_index for label in labels]
    best = targets.max(dim=1).values.tolist()
    assert best == pytest.approx([label.score for label in labels], rel=1e-4)
    hard = TargetSpec(margin_weighting=True, prior_strength=asked)
    targets, weights = make_targets(index, hard, label_prior(index, hard), seed=0)
    assert targets.argmax(dim=1).tolist() == [label.label_index for label in labels]
    margins = np.array([label.margin for label in labels])
    assert weights.numpy() == pytest.approx(margins / margins.mean(), rel=1e-5)


@pytest.mark.parametrize(("strength", "is_absence"), STRENGTHS)
def test_soft_targets_have_the_temperature_of_their_shards(strength, is_absence):
    index, labels = labelled("corpus" if strength else "none", strength, is_absence, temperature=2.0)
    targets, _ = make_targets(index, TargetSpec(soft=True), label_prior(index, TargetSpec(soft=True)), seed=0)
    assert targets.max(dim=1).values.tolist() == pytest.approx([label.score for label in labels], rel=1e-4)
    untempered, _ = labelled("corpus" if strength else "none", strength, is_absence)
    assert index.label_index.tolist() == untempered.label_index.tolist()


def test_soft_labels_of_another_prior_are_refused():
    assert targets_of(prior="null")[0].argmax(axis=1).tolist() == [0, 0, 0, 1]
    with pytest.raises(InputError, match="labelled with --prior null, which soft labels cannot repeat: add --prior-s"):
        targets_of(prior="null", soft=True)
    corrected, _ = targets_of(prior="null", soft=True, prior_strength=1.0)
    assert corrected.argmax(axis=1).tolist() == [2, 2, 2, 1]


def test_margins_of_zero_weigh_nothing():
    spec = TargetSpec(margin_weighting=True)
    flat = replace(index(), margin=np.zeros(4, np.float32))
    _, weights = make_targets(flat, spec, None, seed=0)
    assert weights.tolist() == [0, 0, 0, 0]


def test_margin_weights_have_mean_one():
    _, weights = targets_of(margin_weighting=True)
    assert weights == pytest.approx([2.0, 0.4 / 0.35, 0.3 / 0.35, 0.0], abs=1e-6)


def test_class_balance_gives_every_label_that_occurs_the_same_total():
    _, weights = targets_of(class_balance=True)
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_shuffled_targets_are_the_same_targets_in_another_order():
    straight, _ = targets_of(soft=True)
    shuffled, _ = targets_of(soft=True, shuffle=True)
    assert sorted(map(tuple, straight)) == sorted(map(tuple, shuffled))
    assert straight.tolist() != shuffled.tolist()
    assert np.array_equal(shuffled, targets_of(soft=True, shuffle=True)[0])


def test_cross_entropy_against_a_distribution():
    logits = torch.tensor([[math.log(1), math.log(2), math.log(1)], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    assert cross_entropy(logits, targets).tolist() == pytest.approx([math.log(2), math.log(3)])
