"""How well emotions are told apart: the figures of the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion(truth: Sequence[int], found: Sequence[int], labels: int) -> np.ndarray:
    """Counts, int64 (labels, labels): rows are the true label, columns the predicted one."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (np.asarray(truth, np.int64), np.asarray(found, np.int64)), 1)
    return counts


def scores(counts: np.ndarray) -> dict[str, float]:
    """Figures of a confusion matrix: ``ua``, ``wa`` and ``macro_f1``, each between 0 and 1.

    Unweighted accuracy (UA) is the mean recall over labels, weighted accuracy (WA) the share of samples that
    are right (Schuller et al. 2009, the INTERSPEECH 2009 Emotion Challenge). Labels of which there is no
    sample do not count.
    """
    there = counts.sum(axis=1)
    right = np.diag(counts)
    some = there > 0
    if not some.any():
        raise ValueError("no samples, so no scores")
    recall = right[some] / there[some]
    f1 = 2 * right[some] / (there + counts.sum(axis=0))[some]
    return {"ua": float(recall.mean()), "wa": float(right.sum() / there.sum()), "macro_f1": float(f1.mean())}
