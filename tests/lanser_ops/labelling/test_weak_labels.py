"""From scores to labels, with numbers that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lanser_ops.labelling import weak_labels
from schemas.records import Transcript
from schemas.taxonomy import parse_taxonomy

MOODS = parse_taxonomy("name: moods\nlabels: [joy, fear, calm]\n", "moods.yaml")


def transcripts(count: int) -> list[Transcript]:
    return [
        Transcript(f"{n:016x}", "a.wav", 0.0, 1.0, 1.0, "hm", None, None, None, None, (), None) for n in range(count)
    ]


def label(scores: list, prior=None, truncated=None) -> list:
    """Weak labels of scores (templates, utterances, labels) or, of one template, (utterances, labels)."""
    by_template = np.array(scores, np.float32)
    by_template = by_template[None] if by_template.ndim == 2 else by_template
    count = by_template.shape[1]
    flags = np.zeros(count, bool) if truncated is None else np.array(truncated)
    return weak_labels.label_utterances(transcripts(count), by_template, flags, MOODS, prior)


def test_without_a_prior_the_score_is_the_entailment():
    (weak_label,) = label([[0.2, 0.7, 0.65]])
    assert (weak_label.label, weak_label.label_index) == ("fear", 1)
    assert weak_label.score == np.float32(0.7) and weak_label.margin == np.float32(0.05)
    assert weak_label.entailment == [np.float32(0.2), np.float32(0.7), np.float32(0.65)]
    assert weak_label.template_labels == weak_label.template_entailment == []


def test_the_first_of_equals_wins():
    assert label([[0.5, 0.5, 0.1]])[0].label == "joy"


def test_scores_are_averaged_over_templates_and_stored_for_each():
    (weak_label,) = label([[[0.2, 0.6, 0.1]], [[0.9, 0.4, 0.1]]])
    assert weak_label.label == "joy" and weak_label.score == np.float32(0.55)
    assert weak_label.template_labels == [1, 0]
    assert weak_label.template_entailment == [pytest.approx([0.2, 0.6, 0.1]), pytest.approx([0.9, 0.4, 0.1])]


def test_a_prior_decides_the_label_and_its_score_but_not_the_entailment():
    # s / exp(prior) is 0.4/0.8, 0.3/0.1, 0.1/0.1: that is 0.5, 3 and 1, of 4.5 in all.
    (weak_label,) = label([[0.4, 0.3, 0.1]], prior=[math.log(0.8), math.log(0.1), math.log(0.1)])
    assert weak_label.label == "fear"
    assert weak_label.score == np.float32(0.666667)
    assert weak_label.margin == np.float32(0.444445)  # 0.666667 - 0.222222, in float32
    assert weak_label.entailment == [np.float32(0.4), np.float32(0.3), np.float32(0.1)]


def test_equal_priors_change_no_label():
    scores = np.random.default_rng(0).random((50, 3)).astype(np.float32).tolist()
    without = [weak_label.label for weak_label in label(scores)]
    assert [weak_label.label for weak_label in label(scores, prior=[-1.5] * 3)] == without


def test_each_template_picks_with_the_prior():
    prior = [math.log(0.8), math.log(0.1), math.log(0.1)]
    (weak_label,) = label([[[0.4, 0.3, 0.1]], [[0.9, 0.01, 0.01]]], prior=prior)
    assert weak_label.template_labels == [1, 0]


def test_a_truncated_premise_is_flagged():
    labels = label([[0.1, 0.2, 0.3]] * 2, truncated=[False, True])
    assert [weak_label.flags for weak_label in labels] == [(), ("premise_truncated",)]


def test_no_transcripts():
    assert weak_labels.label_utterances([], np.zeros((1, 0, 3), np.float32), np.zeros(0, bool), MOODS) == []


def test_stacked_scores_are_in_taxonomy_order():
    columns = {name: np.full(2, value, np.float32) for name, value in (("b!", 2), ("a?", 3), ("a!", 1), ("b?", 4))}
    stacked = weak_labels.stack(columns, weak_labels.filled(["b", "a"], ["{}!", "{}?"]))
    assert stacked.tolist() == [[[2, 1], [2, 1]], [[4, 3], [4, 3]]]
