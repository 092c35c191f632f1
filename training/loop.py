"""The optimizer step, the same for a single process and for several."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from lanser_ops.common.errors import InputError
from training.blocks import rate_scales
from training.dataset import Batch
from training.features import Augment
from training.model import EmotionModel

MAX_NORM = 1.0


@dataclass(frozen=True)
class StepResult:
    """``loss`` is the weighted mean over ``samples`` samples of all ranks; ``stop`` is set if any rank asked for it."""

    loss: float
    norm: float
    samples: int
    stop: bool


def learning_rate(step: int, total: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the share ``warmup`` of ``total`` steps, then a half cosine down to zero."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def make_optimizer(
    model: EmotionModel, weight_decay: float, layer_decay: float = 1.0, heads: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW without decay of vectors (norms and biases), over what is open of ``model``. `set_rate` sets its rate.

    ``layer_decay`` is that of training.blocks.rate_scales; ``heads`` are further layers, which have the peak rate.
    """
    weights = dict(model.named_parameters())
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, scale in rate_scales(model, layer_decay).items():
        groups.setdefault((scale, weights[name].ndim > 1), []).append(weights[name])
    for weight in heads.parameters() if heads is not None else ():
        groups.setdefault((1.0, weight.ndim > 1), []).append(weight)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": weight_decay if is_matrix else 0.0, "scale": scale}
            for (scale, is_matrix), members in groups.items()
        ],
        lr=0.0,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate at which ``optimizer``, of `make_optimizer`, takes its next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of ``size`` batches; the last list holds the remainder."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def backward(
    accelerator: Accelerator, model: nn.Module, group: Sequence[Batch], augment: Augment | None, stop: bool = False
) -> tuple[float, int, bool]:
    """Gradients of the weighted mean loss over the micro-batches ``group`` of every rank.

    ``model`` is a `training.objectives.PretrainNetwork`. The mean is over all of them at once, so it does not depend on
    how samples are spread over ranks and micro-batches. Returns that loss, the number of samples, and whether any rank
    set ``stop``.
    """
    group = [batch.to(accelerator.device) for batch in group]
    weight = float(sum(batch.weights.sum() for batch in group))
    sums = torch.tensor([weight, sum(len(batch.keys) for batch in group), stop], device=accelerator.device)
    total, samples, stops = accelerator.reduce(sums, "sum").tolist()
    # Processes average their gradients; this turns the average into a sum.
    scale = accelerator.num_processes / max(total, 1e-12)
    loss_sum = torch.zeros((), device=accelerator.device)
    for number, batch in enumerate(group):
        last = number == len(group) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                losses, _ = model(batch.waves, batch.lengths, batch.draws, augment, batch.targets)
            loss = (losses * batch.weights).sum() * scale
            accelerator.backward(loss)
        loss_sum += loss.detach()
    loss = accelerator.reduce(loss_sum, "mean").item()
    return loss, int(samples), stops > 0


def check_finite(loss: float) -> None:
    """Raise InputError for a ``loss`` from which no step leads back: the weights would all become NaN."""
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss}: the training has diverged; start another run with a lower --lr")


def train_step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    group: Sequence[Batch],
    rate: float,
    augment: Augment | None,
    stop: bool = False,
) -> StepResult:
    """One optimizer step at learning rate ``rate``. Raises InputError where the training has diverged."""
    set_rate(optimizer, rate)
    loss, samples, stops = backward(accelerator, model, group, augment, stop)
    if accelerator.mixed_precision != "fp16":  # whose gradient scaler skips such a step, and goes on
        check_finite(loss)
    norm = accelerator.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(loss, float(norm), samples, stops)


def end_processes(accelerator: Accelerator) -> None:
    """Leave the process group. The caller must have dropped what `Accelerator.prepare` returned.

    The network is freed first: a process group that is destroyed with it waits, holding the interpreter lock, for
    threads that need the lock to free their tensors (https://github.com/pytorch/pytorch/issues/56297). A group that
    is never destroyed may abort the process at exit.
    """
    accelerator.free_memory()
    accelerator.end_training()
