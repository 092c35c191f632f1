"""Figures of emotion recognition: how well predicted labels agree with true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FIGURES = ("ua", "wa", "macro_f1")


def confusion(truth: Sequence[int], predicted: Sequence[int], labels: int) -> np.ndarray:
    """Counts, int64 (labels, labels): rows are the true label, columns the predicted one."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (np.asarray(truth, np.int64), np.asarray(predicted, np.int64)), 1)
    return counts


def scores(counts: np.ndarray) -> dict[str, float]:
    """Figures of a confusion matrix: ``ua``, ``wa`` and ``macro_f1``, each between 0 and 1.

    Raises ValueError for a matrix without samples.
    """
    if not counts.any():
        raise ValueError("no samples, so no scores")
    return {name: float(value) for name, value in score_arrays(counts).items()}


def score_arrays(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of many confusion matrices, float64 (…) each, of ``counts`` (…, labels, labels); NaN without samples.

    Unweighted accuracy (UA) is the mean recall over labels, weighted accuracy (WA) the share of samples that are
    predicted correctly (Schuller et al. 2009, the INTERSPEECH 2009 Emotion Challenge). Labels without samples do not
    count.
    """
    samples, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    # Where a label has no samples, it has no correct predictions either, and adds 0 to a sum over labels.
    recall = correct / np.maximum(samples, 1)
    f1 = np.where(samples > 0, 2 * correct / np.maximum(samples + predicted, 1), 0.0)
    present = np.count_nonzero(samples > 0, axis=-1)
    with np.errstate(invalid="ignore"):
        return {
            "ua": recall.sum(axis=-1) / present,
            "wa": correct.sum(axis=-1) / samples.sum(axis=-1),
            "macro_f1": f1.sum(axis=-1) / present,
        }
