"""Fits on rows whose right answer is known, because they are drawn from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lanser_ops.labelling import calibration
from lanser_ops.labelling.calibration import LabelledRows, Values

DEFAULT = Values(prior_strength=0.4, neutral_threshold=0.0, temperature=1.0)


def rows_of(entailment: np.ndarray, truth: np.ndarray, prior: tuple[float, ...], absence: int | None = None):
    count = len(truth)
    return LabelledRows(entailment.astype(np.float32), truth, np.ones(count), np.zeros(count, np.int64), prior, absence)


def drawn(values: Values, count: int = 300, labels: int = 3) -> LabelledRows:
    """Rows whose true labels are drawn with the probabilities that ``values`` give."""
    generator = np.random.default_rng(5)
    lead = generator.normal(0, 1.5, (count, labels)) - np.arange(labels)
    entailment = np.exp(lead - lead.max() - 0.01)
    rows = rows_of(entailment, np.zeros(count, np.int64), tuple(np.log(entailment).mean(axis=0)))
    probabilities = calibration.ranked(rows, values).astype(np.float64).cumsum(axis=1)
    truth = (generator.random((count, 1)) > probabilities / probabilities[:, -1:]).sum(axis=1)
    return replace(rows, truth=truth.astype(np.int64))


def test_confidence_by_hand():
    rows = rows_of(np.zeros((3, 2)), np.array([0, 1, 1]), (0.0, 0.0))
    scores, labels = np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95]]), np.array([0, 0, 1])
    figures = calibration.confidence(rows, scores, labels, np.array([1.0, 1.0, 2.0]))
    # The bin of 0.75 is right once in two, an excess of score of 0.25; that of 0.95 always, 0.05 too low.
    assert figures["calibration_error"] == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)
    losses = -np.log([0.75, 0.25, 0.95, 0.95])
    assert figures["log_loss"] == pytest.approx(losses.mean())


def test_agreement_counts_weights():
    rows = rows_of(np.zeros((3, 2)), np.array([0, 0, 1]), (0.0, 0.0))
    figures = calibration.agreement(rows, np.array([0, 1, 1]), np.array([3.0, 1.0, 4.0]))
    assert figures["wa"] == pytest.approx(7 / 8) and figures["ua"] == pytest.approx((3 / 4 + 1) / 2)
    assert figures["macro_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2)


def test_no_label_has_all_its_rows_in_one_fold():
    truth = np.array([0] * 25 + [1] * 11 + [2] * 4)
    fold = calibration.folds(truth)
    assert np.bincount(fold, minlength=10).tolist() == [4] * 10
    assert len(set(fold[truth == 2].tolist())) == 4


def test_replicates_keep_the_size_of_every_stratum():
    rows = replace(rows_of(np.zeros((5, 2)), np.zeros(5, np.int64), (0.0, 0.0)), stratum=np.array([0, 0, 0, 1, 1]))
    weights = calibration.replicates(rows)
    assert weights.shape == (1000, 5)
    assert (weights[:, :3].sum(axis=1) == 3).all() and (weights[:, 3:].sum(axis=1) == 2).all()


def test_a_temperature_is_found_and_its_gain_is_out_of_sample():
    fit = calibration.fit_temperature(drawn(replace(DEFAULT, temperature=3.0)), DEFAULT)
    assert 2.3 < fit.fitted < 4 and fit.is_gain
    assert fit.gains["log_loss"].value == pytest.approx(fit.before["log_loss"].value - fit.after["log_loss"].value)
    assert fit.after["calibration_error"].value < 0.08 < fit.before["calibration_error"].value


def test_a_temperature_that_is_right_stays():
    fit = calibration.fit_temperature(drawn(DEFAULT), DEFAULT)
    assert 0.7 < fit.fitted < 1.4 and not fit.is_gain


def test_a_prior_strength_is_found():
    rows = drawn(Values(1.0, 0.0, 0.3), labels=4)
    fit = calibration.fit_labels(rows, "prior_strength", replace(DEFAULT, prior_strength=0.0))
    assert fit.fitted > 0.6 and fit.is_gain and fit.decisive == "macro_f1"
    again = calibration.fit_labels(rows, "prior_strength", replace(DEFAULT, prior_strength=fit.fitted))
    assert again.fitted == fit.fitted and not again.is_gain


def test_labels_without_any_relation_change_nothing():
    rows = drawn(DEFAULT)
    shuffled = replace(rows, truth=np.random.default_rng(3).permutation(rows.truth))
    assert not calibration.fit_labels(shuffled, "prior_strength", DEFAULT).is_gain
    assert calibration.fit_threshold(shuffled, DEFAULT, 0.95) is None


def test_a_neutral_threshold_is_found():
    generator = np.random.default_rng(2)
    entailment = generator.uniform(0.01, 1, (300, 3))
    prior = (np.log(0.1), np.log(0.1), 0.0)
    lead = np.log(entailment[:, :2]) - 0.4 * np.log(0.1)
    truth = np.where(lead.max(axis=1) > 0.5, lead.argmax(axis=1), 2)
    fit = calibration.fit_labels(rows_of(entailment, truth, prior, absence=2), "neutral_threshold", DEFAULT)
    assert fit.fitted == 0.5 and fit.is_gain
    assert fit.after["wa"].value == pytest.approx(1.0)


def test_a_threshold_reaches_a_precision_on_other_rows():
    rows = drawn(DEFAULT, count=600)
    everything = calibration.thresholds(rows, DEFAULT, [0.0])[0.0]
    fit = calibration.fit_threshold(rows, DEFAULT, 0.85)
    assert fit is not None and fit.option in ("min_score", "min_margin") and fit.is_gain
    assert fit.before["precision"].value == everything["precision"].value < 0.8
    assert 0.8 < fit.after["precision"].value < 0.92 and 0.2 < fit.after["share"].value < 0.9
    assert everything["share"].value == 1
