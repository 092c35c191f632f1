"""The pre-training run: steps, checkpoints and validation, resumable from any checkpoint."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from lanser_ops.common.errors import Interrupted
from training.checkpoints import Position, load_checkpoint, save_checkpoint
from training.dataset import Batch, Layout, ShardReader, batches_per_reader, make_loader
from training.features import Augment, generator_for
from training.loop import StepResult, grouped, learning_rate, make_optimizer, train_step
from training.losses import TargetSpec, make_targets
from training.model import EmotionModel, save_model
from training.runlog import RunLog
from training.shards import Index
from training.tracking import start_trackers
from training.validate import validate


@dataclass(frozen=True)
class Schedule:
    """Micro-batches per rank of every epoch, and the run's optimizer steps."""

    micro_batches: tuple[int, ...]
    steps: int


@dataclass(frozen=True)
class Plan:
    """Everything that decides a pre-training run.

    ``peak`` is the peak learning rate, ``warmup`` a share of the steps, ``prior`` the `label_prior` of ``index``;
    ``processes`` says whether loader workers are separate processes; ``validation`` may be None. ``options`` are those
    of the command, for the trackers.
    """

    output: Path
    index: Index
    layout: Layout
    targets: TargetSpec
    prior: tuple[float, ...] | None
    schedule: Schedule
    accumulate: int
    peak: float
    weight_decay: float
    warmup: float
    layer_decay: float
    augment: Augment | None
    processes: bool
    checkpoint_every: int
    log_every: int
    max_steps: float
    validation: Index | None
    options: Mapping[str, Any]


def make_schedule(index: Index, layout: Layout, epochs: int, accumulate: int) -> Schedule:
    """The schedule of ``epochs`` epochs over ``index`` with ``accumulate`` micro-batches per step."""
    counts = (layout.workers * batches_per_reader(index.counts, layout, epoch) for epoch in range(epochs))
    micro_batches = tuple(counts)
    return Schedule(micro_batches, sum(-(-count // accumulate) for count in micro_batches))


def groups_from(
    plan: Plan, targets: Tensor, weights: Tensor, position: Position
) -> Iterator[tuple[list[Batch], Position]]:
    """The micro-batches of every optimizer step from ``position`` on, with the position after the step."""
    step, start = position.step, position.micro_batch
    epochs = range(position.epoch, len(plan.schedule.micro_batches))
    reader = ShardReader(plan.index, targets, weights, plan.layout, plan.augment or Augment(), epochs, start)
    batches = iter(make_loader(reader, plan.processes, pin=torch.cuda.is_available()))
    for epoch in epochs:
        count = plan.schedule.micro_batches[epoch]
        for group in grouped(itertools.islice(batches, count - start), plan.accumulate):
            step, start = step + 1, start + len(group)
            epoch_done = start == count
            yield group, Position(step, epoch + epoch_done, 0 if epoch_done else start)
        start = 0


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed every generator that the network may use (dropout, masking) by step, so that checkpoints store none."""
    set_seed(generator_for(seed, step, f"rank {rank}").initial_seed() % 2**31)


def train(plan: Plan, accelerator: Accelerator, model: EmotionModel, checkpoint: Path | None) -> None:
    """Train ``model`` from ``checkpoint``, or from the start, to the end of the schedule; writes RUN/model.

    On SIGTERM it writes a checkpoint and raises Interrupted.
    """
    state, position = load_checkpoint(checkpoint, model) if checkpoint else ({}, Position())
    optimizer = make_optimizer(model, plan.weight_decay, plan.layer_decay)
    network: nn.Module = model
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    network, optimizer = accelerator.prepare(network, optimizer)
    if state:
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
    start_trackers(accelerator, plan.options, position.step)
    is_main = accelerator.is_main_process
    log = RunLog(plan.output, accelerator, plan.schedule.steps, position.step) if is_main else None
    signals: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        finished = _steps(plan, accelerator, network, optimizer, position, log, signals)
    finally:
        signal.signal(signal.SIGTERM, previous)
        if log:
            log.close()
    if finished and accelerator.is_main_process:
        save_model(accelerator.unwrap_model(network), plan.output / "model")


def _steps(
    plan: Plan,
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    start: Position,
    log: RunLog | None,
    signals: list[int],
) -> bool:
    """Run all steps from ``start`` on; returns whether the schedule was completed."""
    targets, weights = make_targets(plan.index, plan.targets, plan.prior, plan.layout.seed)
    network.train()
    epoch = start.epoch
    for group, position in groups_from(plan, targets, weights, start):
        seed_step(plan.layout.seed, position.step, plan.layout.rank)
        rate = learning_rate(position.step - 1, plan.schedule.steps, plan.peak, plan.warmup)
        result = train_step(accelerator, network, optimizer, group, rate, plan.augment, bool(signals))
        if log:
            _report(plan, log, position.step, group, result, rate)
        ended = position.step == plan.schedule.steps
        if plan.validation and position.epoch > epoch:
            heldout, _ = make_targets(plan.validation, plan.targets, plan.prior, plan.layout.seed)
            figures = validate(accelerator, network, plan.validation, heldout, plan.layout)
            if log:
                log.write(position.step, epoch=position.epoch, **figures)
        epoch = position.epoch
        stop = result.stop or position.step >= plan.max_steps
        if (stop or ended or position.step % plan.checkpoint_every == 0) and accelerator.is_main_process:
            state = {"optimizer": optimizer.state_dict()}
            if accelerator.scaler is not None:
                state["scaler"] = accelerator.scaler.state_dict()
            save_checkpoint(plan.output, accelerator.unwrap_model(network), state, position)
        if stop and not ended:
            accelerator.wait_for_everyone()
            if result.stop:
                raise Interrupted(f"stopped at step {position.step}, checkpoint written; continue with --resume")
            return False
    return True


def _report(plan: Plan, log: RunLog, step: int, group: list[Batch], result: StepResult, rate: float) -> None:
    speed = log.advance(step, result.loss, result.samples)
    for line in (line for batch in group for line in batch.undecodable):
        print(f"cannot be decoded, left out: {line}", file=sys.stderr)
        log.write(step, undecodable=line)
    if step % plan.log_every == 0:
        log.write(step, loss=result.loss, gradient_norm=result.norm, learning_rate=rate, samples_per_s=round(speed, 2))
