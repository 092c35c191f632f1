"""From stored entailment to targets and weights, and the one loss that takes them.

Every target is a distribution over the labels: one-hot for hard labels, else the entailment scores brought
to sum 1. So there is one loss, cross-entropy against a distribution, and weights are per sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.shards import Index

# Scores of zero would have no logarithm. MNLI models give no label less than this in earnest.
LEAST = 1e-4


@dataclass(frozen=True)
class TargetSpec:
    """How weak labels are used.

    Attributes:
        soft: the entailment distribution rather than its argmax.
        temperature: soft targets are p^(1/temperature), normalised; above 1 is flatter.
        prior_correction: divide each label's score by its mean over the corpus first, since NLI models favour
            some words whatever was said.
        margin_weighting: weight a sample by the lead of its best label over the runner-up.
        class_balance: weight a sample by the inverse frequency of its labels.
        shuffle: give every sample the targets of a random other one. The control that tells what the labels
            are worth: all statistics of the targets stay, what they have to do with the audio goes.
    """

    soft: bool = False
    temperature: float = 1.0
    prior_correction: bool = False
    margin_weighting: bool = False
    class_balance: bool = False
    shuffle: bool = False


def label_prior(index: Index) -> np.ndarray:
    """The mean score of each label over the corpus, float64 (labels,)."""
    return np.maximum(index.entailment.astype(np.float64), LEAST).mean(axis=0)


def make_targets(index: Index, spec: TargetSpec, prior: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Targets, float32 (samples, labels), and weights, float32 (samples,) with mean 1, in index order.

    ``prior`` is the `label_prior` of the training shards.
    """
    scores = np.maximum(index.entailment.astype(np.float64), LEAST)
    if spec.prior_correction:
        scores = scores / prior
    if spec.soft:
        targets = normalised(scores ** (1 / spec.temperature))
    else:
        # Without correction the stored label holds; it is what the shards' .cls files say.
        best = scores.argmax(axis=1) if spec.prior_correction else index.label_index
        targets = np.eye(scores.shape[1])[best]
    weights = np.ones(len(targets))
    if spec.margin_weighting:
        weights *= margins(normalised(scores)) if spec.prior_correction else index.margin
    if spec.class_balance:
        weights *= balance(targets)
    order = np.random.default_rng(seed).permutation(len(targets)) if spec.shuffle else slice(None)
    weights = weights / max(weights.mean(), LEAST)
    return torch.from_numpy(targets[order]).float(), torch.from_numpy(weights[order]).float()


def normalised(scores: np.ndarray) -> np.ndarray:
    """Rows of ``scores`` (samples, labels) divided by their sums."""
    return scores / scores.sum(axis=1, keepdims=True)


def margins(scores: np.ndarray) -> np.ndarray:
    """The lead of each row's best score over its second, (samples,), of ``scores`` (samples, labels)."""
    ordered = np.sort(scores, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def balance(targets: np.ndarray) -> np.ndarray:
    """Weights (samples,) under which every label that occurs has the same total, of ``targets`` (samples, labels)."""
    mass = targets.sum(axis=0)
    inverse = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    return targets @ inverse * len(targets) / np.count_nonzero(mass)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row, float32 (batch,), of ``logits`` and ``targets`` (batch, labels)."""
    return -(targets * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
