"""From stored entailment to targets and weights, and the one loss that takes them.

Every target is a distribution over the labels: one-hot for hard labels, else entailment normalised to sum 1. So there
is one loss, cross-entropy against a distribution, and weights are per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import SCORE_FLOOR, corrected, log_prior, margins
from training.shards import CORPUS_PRIOR, NO_PRIOR, Index


@dataclass(frozen=True)
class TargetSpec:
    """How weak labels are used.

    Attributes:
        soft: the entailment distribution rather than its argmax.
        temperature: soft targets are p^(1/temperature), normalised; above 1 is flatter.
        prior_strength: choose labels again with this share of the corpus prior, as `lanser build --prior-strength`
            does, since NLI models favour some words whatever was said; None keeps the labels and prior of the shards.
        margin_weighting: weight a sample by the lead of its best label over the runner-up.
        class_balance: weight a sample by the inverse frequency of its labels.
        shuffle: give every sample the targets of a random other one. This control measures what the labels are
            worth: the statistics of the targets stay, their relation to the audio is lost.
    """

    soft: bool = False
    temperature: float = 1.0
    prior_strength: float | None = None
    margin_weighting: bool = False
    class_balance: bool = False
    shuffle: bool = False


def label_prior(index: Index, spec: TargetSpec) -> tuple[float, ...] | None:
    """What is subtracted from the log scores of each label; None for nothing.

    It is the strength times the mean over ``index``, the training shards.

    Raises InputError for soft targets from shards whose labels were corrected by another prior, which they do not hold.
    """
    strength = spec.prior_strength
    if strength is None and index.scoring.prior == CORPUS_PRIOR:
        strength = index.scoring.prior_strength
    if strength is not None:
        return tuple(strength * value for value in log_prior(index.entailment)) if strength else None
    if spec.soft and index.scoring.prior != NO_PRIOR:
        raise InputError(
            f"the shards were labelled with --prior {index.scoring.prior}, which soft labels cannot repeat: add "
            "--prior-strength for the corpus prior, use --labels hard, or relabel with --prior corpus"
        )
    return None


def make_targets(index: Index, spec: TargetSpec, prior: Sequence[float] | None, seed: int) -> tuple[Tensor, Tensor]:
    """Targets, float32 (samples, labels), and weights, float32 (samples,) with mean 1, in index order.

    ``prior`` is the `label_prior` of the training shards, also for validation shards.
    """
    scoring = index.scoring
    ranked = corrected(
        index.entailment,
        prior,
        absence=scoring.absence,
        threshold=scoring.neutral_threshold,
        temperature=scoring.temperature,
    )
    # The labeller's choice holds unless the user asks for a strength that it did not use.
    labeller_strength = scoring.prior_strength if scoring.prior in (NO_PRIOR, CORPUS_PRIOR) else None
    relabel = spec.prior_strength not in (None, labeller_strength)
    if spec.soft:
        targets = np.maximum(ranked.astype(np.float64), SCORE_FLOOR) ** (1 / spec.temperature)
        targets /= targets.sum(axis=1, keepdims=True)
    else:
        targets = np.eye(len(index.labels))[ranked.argmax(axis=1) if relabel else index.label_index]
    weights = np.ones(len(targets))
    if spec.margin_weighting:
        weights *= margins(ranked) if relabel else index.margin
    if spec.class_balance:
        weights *= balance(targets)
    order = np.random.default_rng(seed).permutation(len(targets)) if spec.shuffle else slice(None)
    if weights.any():
        weights /= weights.mean()
    return torch.from_numpy(targets[order]).float(), torch.from_numpy(weights[order]).float()


def balance(targets: np.ndarray) -> np.ndarray:
    """Weights (samples,) under which every label that occurs has the same total, of ``targets`` (samples, labels)."""
    mass = targets.sum(axis=0)
    inverse = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    return targets @ inverse * len(targets) / np.count_nonzero(mass)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row, float32 (batch,), of ``logits`` and ``targets`` (batch, labels)."""
    return -(targets * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
