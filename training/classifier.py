"""Training and applying a classifier on labelled clips that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.audio import pad
from training.features import LOG_MEL, Augment, crop, draw, generator_for
from training.loop import MAX_NORM, learning_rate, make_optimizer
from training.losses import balance, cross_entropy
from training.model import EmotionModel
from training.trainer import seed_step

# Longer clips are heard in their middle; emotion corpora hardly have any.
MAX_S = 20.0
# A clip shorter than one frame of an audio encoder would have no output.
MIN_S = 0.1
EVALUATION_BATCH = 16
# Of the linear classifier on a frozen network: the L2 penalty on standardised inputs, and L-BFGS iterations.
PENALTY, ITERATIONS = 1e-2, 200


@dataclass(frozen=True)
class FitSpec:
    """How a classifier is trained: ``peak`` is the peak learning rate, ``warmup`` a share of ``steps``.

    With ``bf16`` the network computes in bfloat16; weights, features and loss stay float32.
    """

    steps: int
    batch_size: int
    peak: float
    weight_decay: float
    warmup: float
    crop_s: float
    augment: Augment | None
    bf16: bool = False


def fit(
    model: EmotionModel,
    waves: Sequence[np.ndarray],
    labels: Sequence[int],
    spec: FitSpec,
    seed: int,
    device: torch.device,
) -> None:
    """Train the whole of ``model`` on ``waves``, each (samples,), with class-balanced cross-entropy."""
    model.to(device).train()
    optimizer = make_optimizer(model, spec.weight_decay)
    one_hot = np.eye(len(model.spec.labels))[list(labels)]
    weights = torch.from_numpy(balance(one_hot)).float()
    targets = torch.from_numpy(one_hot).float()
    size = round(spec.crop_s * LOG_MEL.sample_rate)
    numbers = spec.augment or Augment()
    for step, (epoch, rows) in enumerate(_rows(len(waves), spec, seed)):
        draws = torch.stack([draw(numbers, generator_for(seed, epoch, str(row))) for row in rows])
        cut = [crop(waves[row], size, float(one[0])) for row, one in zip(rows, draws, strict=True)]
        padded, lengths = (torch.from_numpy(one).to(device) for one in pad(cut, size))
        seed_step(seed, step, 0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, spec.steps, spec.peak, spec.warmup)
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.bf16):
            logits = model(padded, lengths, draws.to(device), spec.augment)
        weight = weights[rows].to(device)
        loss = (cross_entropy(logits, targets[rows].to(device)) * weight).sum() / weight.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _rows(samples: int, spec: FitSpec, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Epoch and rows of every step; an epoch's last batch is left out if it is not full and not the only one."""
    done, epoch = 0, 0
    while done < spec.steps:
        order = torch.randperm(samples, generator=generator_for(seed, epoch, "order")).tolist()
        whole = max(1, samples // spec.batch_size)
        for number in range(min(whole, spec.steps - done)):
            yield epoch, order[number * spec.batch_size : (number + 1) * spec.batch_size]
        done, epoch = done + whole, epoch + 1


@torch.inference_mode()
def embed_all(model: EmotionModel, waves: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """The embedding of every clip, float32 (clips, width), on the CPU; ``model`` in evaluation mode."""
    model.to(device).eval()
    longest, shortest = (round(seconds * LOG_MEL.sample_rate) for seconds in (MAX_S, MIN_S))
    order = sorted(range(len(waves)), key=lambda row: len(waves[row]))  # clips of like length waste no padding
    found = torch.zeros(len(waves), model.width)
    for start in range(0, len(order), EVALUATION_BATCH):
        rows = order[start : start + EVALUATION_BATCH]
        clips = [crop(waves[row], longest, 0.5) for row in rows]
        padded, lengths = pad(clips, max(shortest, *map(len, clips)))
        batch = (torch.from_numpy(one).to(device) for one in (padded, np.maximum(lengths, shortest)))
        found[rows] = model.embed(*batch).float().cpu()
    return found


@torch.inference_mode()
def probabilities(model: EmotionModel, waves: Sequence[np.ndarray], device: torch.device | None = None) -> Tensor:
    """Label probabilities, float32 (clips, labels), of ``waves``, each float32 (samples,) at 16 kHz."""
    device = device or torch.device("cpu")
    embedded = embed_all(model, waves, device).to(device)
    return torch.softmax(model.head(embedded), dim=1).cpu()


def fit_linear(embedded: Tensor, labels: Sequence[int], classes: int) -> nn.Linear:
    """Multinomial logistic regression on ``embedded`` (clips, width), class-balanced, with an L2 penalty.

    Inputs are standardised while fitting; that is then folded into the layer that is returned.
    """
    embedded = embedded.double()
    mean, std = embedded.mean(dim=0), embedded.std(dim=0, correction=0) + 1e-6
    inputs = (embedded - mean) / std
    one_hot = np.eye(classes)[list(labels)]
    targets, weights = torch.from_numpy(one_hot), torch.from_numpy(balance(one_hot))
    weight = torch.zeros(classes, embedded.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ weight.T + bias
        entropy = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
        value = (entropy * weights).mean() + PENALTY * weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    layer = nn.Linear(embedded.shape[1], classes)
    with torch.no_grad():
        layer.weight.copy_(weight / std)
        layer.bias.copy_(bias - weight @ (mean / std))
    return layer
