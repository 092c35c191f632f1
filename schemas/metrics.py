"""Figures of emotion recognition: how well predicted labels agree with true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion(truth: Sequence[int], predicted: Sequence[int], labels: int) -> np.ndarray:
    """Counts, int64 (labels, labels): rows are the true label, columns the predicted one."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (np.asarray(truth, np.int64), np.asarray(predicted, np.int64)), 1)
    return counts


def scores(counts: np.ndarray) -> dict[str, float]:
    """Figures of a confusion matrix: ``ua``, ``wa`` and ``macro_f1``, each between 0 and 1.

    Unweighted accuracy (UA) is the mean recall over labels, weighted accuracy (WA) the share of samples that are
    predicted correctly (Schuller et al. 2009, the INTERSPEECH 2009 Emotion Challenge). Labels without samples do not
    count. Raises ValueError for a matrix without samples.
    """
    samples = counts.sum(axis=1)
    correct = np.diag(counts)
    present = samples > 0
    if not present.any():
        raise ValueError("no samples, so no scores")
    recall = correct[present] / samples[present]
    f1 = 2 * correct[present] / (samples + counts.sum(axis=0))[present]
    return {"ua": float(recall.mean()), "wa": float(correct.sum() / samples.sum()), "macro_f1": float(f1.mean())}
