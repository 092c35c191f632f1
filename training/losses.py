"""From stored entailment to targets and weights, and the one loss that takes them.

Every target is a distribution over the labels: one-hot for hard labels, else entailment normalised to sum 1. So there
is one loss, cross-entropy against a distribution, and weights are per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import SCORE_FLOOR, corrected, log_prior, margins
from schemas.specs import CORPUS_PRIOR, NO_PRIOR
from training.shards import Index


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

    It is the strength times the mean over ``index``, the training shards, before any selection.

    Raises InputError where the labels of the shards have to be repeated, for soft targets or for groups, and were
    corrected by another prior, which the shards do not hold.
    """
    strength = spec.prior_strength
    if strength is None and index.scoring.prior == CORPUS_PRIOR:
        strength = index.scoring.prior_strength
    if strength is not None:
        return tuple(strength * value for value in log_prior(index.entailment)) if strength else None
    if (spec.soft or index.is_grouped) and index.scoring.prior != NO_PRIOR:
        use = "groups" if index.is_grouped else "soft labels"
        other = "leave out --map" if index.is_grouped else "use --labels hard"
        raise InputError(
            f"the shards were labelled with --prior {index.scoring.prior}, which {use} cannot repeat: add "
            f"--prior-strength for the corpus prior, {other}, or relabel with --prior corpus"
        )
    return None


def _ranked(index: Index, prior: Sequence[float] | None) -> np.ndarray:
    scoring = index.scoring
    return corrected(
        index.entailment,
        prior,
        absence=scoring.absence,
        threshold=scoring.neutral_threshold,
        temperature=scoring.temperature,
    )


def chosen(index: Index, spec: TargetSpec, prior: Sequence[float] | None) -> Index:
    """``index`` with the labels, scores and margins that are trained on.

    Those of the labeller hold unless the labels were grouped or ``spec`` has a strength that it did not use.
    ``prior`` is the `label_prior` of the training shards, also for validation shards.
    """
    scoring = index.scoring
    labeller_strength = scoring.prior_strength if scoring.prior in (NO_PRIOR, CORPUS_PRIOR) else None
    if not index.is_grouped and spec.prior_strength in (None, labeller_strength):
        return index
    ranked = _ranked(index, prior)
    return replace(index, label_index=ranked.argmax(axis=1), score=ranked.max(axis=1), margin=margins(ranked))


def make_targets(index: Index, spec: TargetSpec, prior: Sequence[float] | None, seed: int) -> tuple[Tensor, Tensor]:
    """Targets, float32 (samples, labels), and weights, float32 (samples,) with mean 1, in index order.

    ``prior`` is the `label_prior` of the training shards, also for validation shards.
    """
    index = chosen(index, spec, prior)
    if spec.soft:
        targets = np.maximum(_ranked(index, prior).astype(np.float64), SCORE_FLOOR) ** (1 / spec.temperature)
        targets /= targets.sum(axis=1, keepdims=True)
    else:
        targets = np.eye(len(index.labels))[index.label_index]
    weights = np.ones(len(targets))
    if spec.margin_weighting:
        weights *= index.margin
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
