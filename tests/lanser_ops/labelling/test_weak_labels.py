"""From scores to labels, with numbers that can be followed by hand."""

from __future__ import annotations

import math
import random

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


def label(scores: list, prior=None, cut=None) -> list:
    """Weak labels of scores (templates, utterances, labels) or, of one template, (utterances, labels)."""
    by_template = np.array(scores, np.float32)
    by_template = by_template[None] if by_template.ndim == 2 else by_template
    count = by_template.shape[1]
    truncated = np.zeros(count, bool) if cut is None else np.array(cut)
    return weak_labels.label_utterances(transcripts(count), by_template, truncated, MOODS, prior)


def test_without_a_prior_the_score_is_the_entailment():
    (one,) = label([[0.2, 0.7, 0.65]])
    assert (one.label, one.label_index) == ("fear", 1)
    assert one.score == np.float32(0.7) and one.margin == np.float32(0.05)
    assert one.entailment == [np.float32(0.2), np.float32(0.7), np.float32(0.65)]
    assert one.template_labels == one.template_entailment == []


def test_the_first_of_equals_wins():
    assert label([[0.5, 0.5, 0.1]])[0].label == "joy"


def test_scores_are_averaged_over_templates_and_kept_apart():
    (one,) = label([[[0.2, 0.6, 0.1]], [[0.9, 0.4, 0.1]]])
    assert one.label == "joy" and one.score == np.float32(0.55)
    assert one.template_labels == [1, 0]
    assert one.template_entailment == [pytest.approx([0.2, 0.6, 0.1]), pytest.approx([0.9, 0.4, 0.1])]


def test_a_prior_is_taken_off_the_logarithm():
    # s / exp(prior) is 0.4/0.8, 0.3/0.1, 0.1/0.1: that is 0.5, 3 and 1, of 4.5 in all.
    (one,) = label([[0.4, 0.3, 0.1]], prior=[math.log(0.8), math.log(0.1), math.log(0.1)])
    assert one.label == "fear"
    assert one.score == pytest.approx(3 / 4.5, abs=1e-6) and one.score == np.float32(0.666667)
    assert one.margin == np.float32(0.444445)  # 0.666667 - 0.222222, in float32
    assert one.entailment == [np.float32(0.4), np.float32(0.3), np.float32(0.1)]


def test_equal_priors_change_no_label():
    scores = np.random.default_rng(0).random((50, 3)).astype(np.float32).tolist()
    plain = [one.label for one in label(scores)]
    assert [one.label for one in label(scores, prior=[-1.5] * 3)] == plain


def test_a_score_of_zero_counts_as_a_millionth():
    (one,) = label([[0.0, 0.0, 1.0]], prior=[math.log(1e-6), 0.0, 0.0])
    # 1, a millionth and 1 remain: the first two labels are not thrown out by log(0).
    assert one.label == "joy" and one.score == pytest.approx(0.5, abs=1e-6)


def test_corpus_prior_is_the_mean_logarithm():
    first = weak_labels.log_sums(np.array([[0.1, 1.0, 0.0], [0.001, 1.0, 1.0]], np.float32))
    second = weak_labels.log_sums(np.array([[0.01, 0.5, 1.0]], np.float32))
    prior = weak_labels.mean_log_scores([(0, *first), (1, *second)])
    tenth = math.log(0.1)
    assert prior == pytest.approx(((1 + 3 + 2) * tenth / 3, math.log(0.5) / 3, 6 * tenth / 3), abs=1e-6)


def test_corpus_prior_is_the_same_in_any_order():
    values = np.random.default_rng(1)
    parts = [(n, *weak_labels.log_sums(values.random((n + 1, 3)).astype(np.float32))) for n in range(20)]
    wanted = weak_labels.mean_log_scores(parts)
    for seed in range(5):
        random.Random(seed).shuffle(parts)
        assert weak_labels.mean_log_scores(parts) == wanted


def test_a_corpus_without_utterances_corrects_nothing():
    nothing = weak_labels.log_sums(np.zeros((0, 3), np.float32))
    assert weak_labels.mean_log_scores([(0, *nothing), (1, *nothing)]) == (0.0, 0.0, 0.0)


def test_each_template_picks_with_the_prior():
    prior = [math.log(0.8), math.log(0.1), math.log(0.1)]
    (one,) = label([[[0.4, 0.3, 0.1]], [[0.9, 0.01, 0.01]]], prior=prior)
    assert one.template_labels == [1, 0]


def test_rounding_survives_text_and_float32():
    values = weak_labels.round_scores(np.random.default_rng(2).random(2000) ** 8)
    assert [np.float32(f"{value:.6g}") for value in values] == values.tolist()


def test_a_cut_premise_is_flagged():
    assert [one.flags for one in label([[0.1, 0.2, 0.3]] * 2, cut=[False, True])] == [(), ("premise_truncated",)]
    assert weak_labels.label_utterances([], np.zeros((1, 0, 3), np.float32), np.zeros(0, bool), MOODS) == []
