"""Training and applying a classifier on labelled clips that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from training.features import Augment, crop, draw, generator_for, pad
from training.frozen import summaries, together
from training.loop import MAX_NORM, check_finite, learning_rate, make_optimizer, set_rate
from training.losses import balance, cross_entropy
from training.model import EmotionModel
from training.predictions import predict_label
from training.trainer import seed_step

# The linear classifier on a frozen network: the L2 penalty on standardised inputs, and L-BFGS iterations.
PENALTY, ITERATIONS = 1e-2, 200


@dataclass(frozen=True)
class FitSpec:
    """How a classifier is trained: ``peak`` is the peak learning rate, ``warmup`` a share of ``steps``.

    With ``bf16`` the network computes in bfloat16; weights, features and loss stay float32. ``layer_decay`` is that of
    training.blocks.rate_scales.
    """

    steps: int
    batch_size: int
    peak: float
    weight_decay: float
    warmup: float
    crop_s: float
    augment: Augment | None
    bf16: bool = False
    layer_decay: float = 1.0


def fit(
    model: EmotionModel,
    waves: Sequence[np.ndarray],
    labels: Sequence[int],
    spec: FitSpec,
    seed: int,
    device: torch.device,
    after_step: Callable[[int, float], bool],
) -> None:
    """Train what is open of ``model`` on ``waves``, with class-balanced cross-entropy.

    ``waves`` are float32 (samples,) at 16 kHz, ``labels`` class indices. ``after_step`` is called with the number of
    steps done and the loss; training ends when it returns true. ``model`` is on ``device`` and in evaluation mode
    afterwards.
    """
    model.to(device).train()
    optimizer = make_optimizer(model, spec.weight_decay, spec.layer_decay)
    one_hot = np.eye(len(model.spec.labels))[list(labels)]
    weights = torch.from_numpy(balance(one_hot)).float()
    targets = torch.from_numpy(one_hot).float()
    size = round(spec.crop_s * SAMPLE_RATE)
    numbers = spec.augment or Augment()
    for step, (epoch, rows) in enumerate(_rows(len(waves), spec, seed)):
        draws = torch.stack([draw(numbers, generator_for(seed, epoch, str(row))) for row in rows])
        clips = [crop(waves[row], size, position) for row, position in zip(rows, draws[:, 0].tolist(), strict=True)]
        padded, lengths = (tensor.to(device) for tensor in pad(clips, size))
        seed_step(seed, step, 0)
        set_rate(optimizer, learning_rate(step, spec.steps, spec.peak, spec.warmup))
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.bf16):
            logits = model(padded, lengths, draws.to(device), spec.augment)
        weight = weights[rows].to(device)
        loss = (cross_entropy(logits, targets[rows].to(device)) * weight).sum() / weight.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        check_finite(value)
        if after_step(step + 1, value):
            break
    model.eval()


def _rows(samples: int, spec: FitSpec, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Epoch and rows of every step; an epoch's last batch is left out if it is partial and not the only one."""
    step, epoch = 0, 0
    while step < spec.steps:
        order = torch.randperm(samples, generator=generator_for(seed, epoch, "order")).tolist()
        batches = max(1, samples // spec.batch_size)
        for number in range(min(batches, spec.steps - step)):
            yield epoch, order[number * spec.batch_size : (number + 1) * spec.batch_size]
        step, epoch = step + batches, epoch + 1


@torch.inference_mode()
def embed_all(
    model: EmotionModel, waves: Sequence[np.ndarray], device: torch.device, cache: Path | None = None
) -> Tensor:
    """The embedding of every clip, float32 (clips, width), on the CPU.

    The arguments are those of training.frozen.summaries.
    """
    clips = summaries(model, waves, device, cache)
    pooled = [model.pooling(*(tensor.to(device) for tensor in together([clip]))).cpu() for clip in clips]
    return torch.cat(pooled)


@torch.inference_mode()
def probabilities(
    model: EmotionModel, waves: Sequence[np.ndarray], device: torch.device | None = None, cache: Path | None = None
) -> Tensor:
    """Label probabilities, float32 (clips, labels), of ``waves``, each float32 (samples,) at 16 kHz.

    ``device`` is the CPU by default; ``cache`` is that of training.frozen.summaries.
    """
    device = device or torch.device("cpu")
    embedded = embed_all(model, waves, device, cache).to(device)
    return torch.softmax(model.head(embedded), dim=1).cpu()


def predict_file(model: EmotionModel, path: Path, device: torch.device) -> tuple[str, dict[str, float]]:
    """What ``model`` says of an audio file, as `predict_label` gives it. Raises AudioError or OSError."""
    with path.open("rb") as stream:
        wave = read_all(stream)
    return predict_label(probabilities(model, [wave], device)[0].tolist(), model.spec.labels)


def fit_linear(embedded: Tensor, labels: Sequence[int], classes: int) -> nn.Linear:
    """Multinomial logistic regression on ``embedded`` (clips, width), class-balanced, with an L2 penalty.

    ``labels`` are class indices. Inputs are standardised for the fit; the scaling is then folded into the layer.
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
