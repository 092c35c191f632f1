"""Figures of emotion recognition, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.metrics import confusion, score_arrays, scores

TRUTH = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = [0, 0, 0, 0, 0, 1, 1, 0, 2, 0]


def test_confusion_has_truth_in_rows():
    assert confusion(TRUTH, PREDICTED, 3).tolist() == [[5, 1, 0], [1, 1, 0], [1, 0, 1]]


def test_scores():
    figures = scores(confusion(TRUTH, PREDICTED, 3))
    assert figures["wa"] == pytest.approx(0.7)
    assert figures["ua"] == pytest.approx((5 / 6 + 1 / 2 + 1 / 2) / 3)
    # Precision and recall: 5/7 and 5/6; 1/2 and 1/2; 1 and 1/2.
    assert figures["macro_f1"] == pytest.approx((10 / 13 + 1 / 2 + 2 / 3) / 3)


def test_labels_without_samples_do_not_count():
    figures = scores(confusion([0, 0, 1, 1], [0, 2, 1, 1], 3))
    assert figures == {"ua": 0.75, "wa": 0.75, "macro_f1": pytest.approx((2 / 3 + 1) / 2)}


def test_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        scores(np.zeros((2, 2), np.int64))


def test_many_matrices_at_once_have_the_scores_of_each():
    counts = np.stack([confusion(TRUTH, PREDICTED, 3), confusion([0, 0, 1, 1], [0, 2, 1, 1], 3), np.zeros((3, 3))])
    figures = score_arrays(counts)
    assert figures["wa"][:2].tolist() == [0.7, 0.75] and figures["ua"][1] == 0.75
    assert figures["macro_f1"][:2] == pytest.approx([(10 / 13 + 1 / 2 + 2 / 3) / 3, (2 / 3 + 1) / 2])
    assert all(np.isnan(values[2]) for values in figures.values())
