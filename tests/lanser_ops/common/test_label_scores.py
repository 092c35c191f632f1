"""Arithmetic on label scores, with numbers that can be checked by hand."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from lanser_ops.common import label_scores


def array(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_scores_are_rounded_to_six_digits():
    assert label_scores.round_score(0.123456789) == 0.123457
    assert label_scores.round_score(0.0001234564999) == 0.000123456
    assert label_scores.round_score(0.99999951) == 1.0
    assert label_scores.round_score(1e-40) == label_scores.round_score(0.0) == 0.0


def test_rounding_survives_text_and_float32():
    probabilities = 10 ** np.random.default_rng(1).uniform(-37, 0, 2000)
    for rounded in map(label_scores.round_score, probabilities):
        assert label_scores.round_score(float(np.float32(rounded))) == rounded == json.loads(json.dumps(rounded))
    values = label_scores.round_scores(np.random.default_rng(2).random((100, 20)) ** 8)
    assert values.dtype == np.float32 and values.shape == (100, 20)
    assert [np.float32(f"{value:.6g}") for value in values.ravel()] == values.ravel().tolist()


def test_the_average_over_templates():
    stacked = np.array([[[0.2, 0.6]], [[0.9, 0.4]]], np.float32)
    assert label_scores.average(stacked).tolist() == array([[0.55, 0.5]]).tolist()
    assert label_scores.average(stacked[:1]).tolist() == array([[0.2, 0.6]]).tolist()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("max", [[0.75, 0.5], [0.2, 0.0]]),
        ("mean", [[0.5, 0.5], [0.15, 0.0]]),
        ("odds", [[10 / 13, 0.5], [13 / 49, 1e-6]]),  # 1/3 + 3 = 10/3, 1/9 + 1/4 = 13/36; no score is below 1e-6
    ],
)
def test_the_hypotheses_of_a_label_are_aggregated(how, expected):
    scores = array([[0.25, 0.75, 0.5], [0.1, 0.2, 0.0]])
    aggregated = label_scores.aggregated(scores, (0, 0, 1), 2, how)
    assert aggregated.dtype == np.float32
    assert aggregated.tolist() == [pytest.approx(row, rel=1e-5, abs=1e-9) for row in expected]


def test_scores_of_single_hypotheses_are_not_changed_by_aggregation():
    scores = np.random.default_rng(3).random((2, 5, 4)).astype(np.float32)
    for how in ("max", "mean", "odds"):
        assert label_scores.aggregated(scores, range(4), 4, how) is scores


def test_the_label_without_hypotheses_scores_what_the_best_lacks_of_1():
    aggregated = label_scores.aggregated(array([[0.25, 0.75, 0.5], [0.1, 0.2, 0.0]]), (0, 0, 2), 3, "max")
    assert aggregated.tolist() == array([[0.75, 0.25, 0.5], [0.2, 0.8, 0.0]]).tolist()


def test_the_prior_of_a_corpus_is_the_mean_logarithm():
    scores = array([[0.1, 1.0, 0.0], [0.001, 1.0, 1.0], [0.01, 0.5, 1.0]])
    tenth = math.log(0.1)
    expected = pytest.approx(((1 + 3 + 2) * tenth / 3, math.log(0.5) / 3, 6 * tenth / 3), abs=1e-6)
    assert label_scores.log_prior(scores) == expected
    parts = [(0, *label_scores.log_sums(scores[:2])), (1, *label_scores.log_sums(scores[2:]))]
    assert label_scores.mean_log_scores(parts) == expected


def test_the_prior_is_the_same_in_any_order():
    values = np.random.default_rng(1)
    parts = [(n, *label_scores.log_sums(values.random((n + 1, 3)).astype(np.float32))) for n in range(20)]
    prior = label_scores.mean_log_scores(parts)
    for seed in range(5):
        random.Random(seed).shuffle(parts)
        assert label_scores.mean_log_scores(parts) == prior


def test_the_prior_of_no_utterances_corrects_nothing():
    no_utterances = label_scores.log_sums(np.zeros((0, 3), np.float32))
    assert label_scores.mean_log_scores([(0, *no_utterances), (1, *no_utterances)]) == (0.0, 0.0, 0.0)


def test_a_prior_is_subtracted_from_the_logarithm():
    # s / exp(prior) is 0.4/0.8, 0.3/0.1, 0.1/0.1: that is 0.5, 3 and 1, of 4.5 in all.
    ranked = label_scores.corrected(array([[0.4, 0.3, 0.1]]), [math.log(0.8), math.log(0.1), math.log(0.1)])
    assert ranked.dtype == np.float32 and ranked[0].tolist() == pytest.approx([0.5 / 4.5, 3 / 4.5, 1 / 4.5], abs=1e-6)
    assert ranked[0, 1] == np.float32(0.666667)
    assert label_scores.margins(ranked).tolist() == [np.float32(0.444445)]  # 0.666667 - 0.222222


def test_a_strength_scales_the_prior():
    prior = [math.log(0.25), math.log(0.04)]
    ranked = label_scores.corrected(array([[0.4, 0.3]]), prior, 0.5)  # 0.4/0.5 and 0.3/0.2
    assert ranked[0].tolist() == pytest.approx([0.8 / 2.3, 1.5 / 2.3], abs=1e-6)
    assert label_scores.corrected(array([[0.4, 0.3]]), prior, 0.0)[0].tolist() == pytest.approx(
        [4 / 7, 3 / 7], abs=1e-6
    )


def test_the_absence_is_ranked_by_the_threshold():
    scores, prior = array([[0.4, 0.3, 0.6]]), [math.log(0.1), math.log(0.1), math.log(0.6)]
    ranked = label_scores.corrected(scores, prior, 1.0, absence=2, threshold=math.log(3.5))  # 4, 3 and 3.5
    assert ranked[0].tolist() == pytest.approx([4 / 10.5, 3 / 10.5, 3.5 / 10.5], abs=1e-6)
    without_prior = label_scores.corrected(scores, None, 0.0, absence=2, threshold=math.log(0.5))
    assert without_prior[0].tolist() == pytest.approx([0.4 / 1.2, 0.3 / 1.2, 0.5 / 1.2], abs=1e-6)


def test_without_a_prior_nothing_is_corrected():
    scores = array([[0.4, 0.3, 0.1]])
    assert label_scores.corrected(scores, None) is scores


def test_a_temperature_divides_the_lead():
    scores, prior = array([[0.4, 0.1]]), [0.0, math.log(0.25)]  # 0.4 and 0.4 at a strength of 1, 0.4 and 0.2 at 1/2
    halved = label_scores.corrected(scores, prior, 0.5, temperature=0.5)  # odds of 2 become 4
    assert halved[0].tolist() == pytest.approx([0.8, 0.2], abs=1e-6)
    doubled = label_scores.corrected(scores, prior, 0.5, temperature=2.0)  # odds of the root of 2
    assert doubled[0].tolist() == pytest.approx([0.585786, 0.414214], abs=1e-6)
    without_prior = label_scores.corrected(scores, None, temperature=2.0)  # odds of 4 become 2
    assert without_prior[0].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


def test_a_temperature_concerns_the_absence_too():
    scores, prior = array([[0.4, 0.1, 0.6]]), [0.0, 0.0, 0.0]
    ranked = label_scores.corrected(scores, prior, 1.0, absence=2, threshold=math.log(0.9), temperature=2.0)
    roots = [math.sqrt(0.4), math.sqrt(0.1), math.sqrt(0.9)]
    assert ranked[0].tolist() == pytest.approx([root / sum(roots) for root in roots], abs=1e-6)


def test_a_score_of_zero_counts_as_a_millionth():
    ranked = label_scores.corrected(array([[0.0, 0.0, 1.0]]), [math.log(1e-6), 0.0, 0.0])
    # 1, a millionth and 1 remain: log(0) does not rule out the first two labels.
    assert ranked[0].tolist() == pytest.approx([0.5, 5e-7, 0.5], abs=1e-6)
