"""The pre-training run: steps, checkpoints and validation, resumable from any checkpoint."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from lanser_ops.common.errors import Interrupted, legible
from training.checkpoints import Position, load_checkpoint, save_checkpoint
from training.dataset import Batch, Layout, ShardReader, batches_per_reader, make_loader
from training.features import Augment, generator_for
from training.loop import StepResult, grouped, learning_rate, make_optimizer, train_step
from training.mixture import SampleSet, passes
from training.model import save_model
from training.objectives import PretrainNetwork
from training.runlog import LOG, RunLog
from training.summaries import Summaries, SummaryBatches
from training.tracking import start_trackers
from training.validate import validate

# Below a run: the last model, the best model on the validation shards, and the figures of both.
MODEL, BEST, METRICS = "model", "best", "metrics.json"


@dataclass(frozen=True)
class Schedule:
    """Micro-batches per rank of every epoch, and the run's optimizer steps."""

    micro_batches: tuple[int, ...]
    steps: int


@dataclass(frozen=True)
class Plan:
    """Everything that decides a pre-training run.

    ``peak`` is the peak learning rate, ``warmup`` a share of the steps; ``processes`` says whether loader workers are
    separate processes; ``validation`` may be None. The summaries of a frozen encoder, of the samples and of the
    validation samples, take the place of their audio. ``options`` are those of the command, for the trackers.
    """

    output: Path
    samples: SampleSet
    layout: Layout
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
    validation: SampleSet | None
    options: Mapping[str, Any]
    summaries: Summaries | None = None
    validation_summaries: Summaries | None = None


def make_schedule(samples: SampleSet, layout: Layout, epochs: int, accumulate: int) -> Schedule:
    """The schedule of ``epochs`` epochs over ``samples`` with ``accumulate`` micro-batches per step."""
    by_epoch = ([each.samples for each in passes(samples, layout.seed, epoch)] for epoch in range(epochs))
    counts = (layout.workers * batches_per_reader(sizes, layout, epoch) for epoch, sizes in enumerate(by_epoch))
    micro_batches = tuple(counts)
    return Schedule(micro_batches, sum(-(-count // accumulate) for count in micro_batches))


def groups_from(plan: Plan, position: Position, pin: bool) -> Iterator[tuple[list[Batch], Position]]:
    """The micro-batches of every optimizer step from ``position`` on, with the position after the step.

    With ``pin`` those read from shards lie in pinned memory, from which a GPU copies faster.
    """
    step, start = position.step, position.micro_batch
    epochs = range(position.epoch, len(plan.schedule.micro_batches))
    batches: Iterator[Batch]
    if plan.summaries is not None:
        batches = iter(SummaryBatches(plan.samples, plan.summaries, plan.layout, epochs, start))
    else:
        reader = ShardReader(plan.samples, plan.layout, plan.augment or Augment(), epochs, start)
        batches = iter(make_loader(reader, plan.processes, pin))
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


def train(
    plan: Plan, accelerator: Accelerator, network: PretrainNetwork, checkpoint: Path | None
) -> dict[str, dict[str, float]] | None:
    """Train ``network`` from ``checkpoint``, or from the start, to the end of the schedule; writes RUN/model.

    After every epoch it is validated; RUN/best is the model with the best figures so far, RUN/metrics.json has those of
    the best and of the last epoch. Returns them, None if the schedule was not completed. On SIGTERM it writes a
    checkpoint and raises Interrupted, without a checkpoint if the signal has ended a loader's process.
    """
    state, position = load_checkpoint(checkpoint, network.model) if checkpoint else ({}, Position())
    optimizer = make_optimizer(network.model, plan.weight_decay, plan.layer_decay, network.heads)
    prepared: nn.Module = network
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        prepared = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    prepared, optimizer = accelerator.prepare(prepared, optimizer)
    if state:
        accelerator.unwrap_model(prepared).heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
    start_trackers(accelerator, plan.options, position.step)
    is_main = accelerator.is_main_process
    log = RunLog(plan.output, accelerator, plan.schedule.steps, position.step) if is_main else None
    signals: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        finished = _steps(plan, accelerator, prepared, optimizer, position, log, signals)
    except RuntimeError as error:
        # The signal of a batch system may end a loader's process that has only just started.
        if signals and not isinstance(error, Interrupted):
            raise Interrupted("stopped; continue from the last checkpoint with --resume") from None
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        if log:
            log.close()
    if not finished:
        return None
    if not is_main:
        return {}
    save_model(accelerator.unwrap_model(prepared).model, plan.output / MODEL)
    return _metrics(_validations(plan.output))


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
    network.train()
    epoch = start.epoch
    # Pinning opens the GPU, which --device cpu is to leave alone.
    for group, position in groups_from(plan, start, pin=accelerator.device.type == "cuda"):
        seed_step(plan.layout.seed, position.step, plan.layout.rank)
        rate = learning_rate(position.step - 1, plan.schedule.steps, plan.peak, plan.warmup)
        result = train_step(accelerator, network, optimizer, group, rate, plan.augment, bool(signals))
        if log:
            _report(plan, log, position.step, group, result, rate)
        ended = position.step == plan.schedule.steps
        if plan.validation and position.epoch > epoch:
            seed_step(plan.layout.seed, 0, plan.layout.rank)  # what is hidden is the same in every epoch
            figures = validate(accelerator, network, plan.validation, plan.layout, plan.validation_summaries)
            if log and figures:
                log.write(position.step, epoch=position.epoch, **figures)
                log.announce(f"epoch {position.epoch}: {describe(figures)}")
                _keep_best(plan.output, accelerator.unwrap_model(network))
        epoch = position.epoch
        stop = result.stop or position.step >= plan.max_steps
        if (stop or ended or position.step % plan.checkpoint_every == 0) and accelerator.is_main_process:
            unwrapped = accelerator.unwrap_model(network)
            state = {"optimizer": optimizer.state_dict(), "heads": unwrapped.heads.state_dict()}
            if accelerator.scaler is not None:
                state["scaler"] = accelerator.scaler.state_dict()
            save_checkpoint(plan.output, unwrapped.model, state, position)
        if stop and not ended:
            accelerator.wait_for_everyone()
            if result.stop:
                raise Interrupted(f"stopped at step {position.step}, checkpoint written; continue with --resume")
            return False
    return True


def describe(figures: dict[str, float]) -> str:
    """Validation figures as people read them.

    >>> describe({"epoch": 2, "val_loss": 1.25, "val_ua": 0.4123, "val_macro_f1": 0.3801})
    'validation UA 41.2 %, macro-F1 38.0 %'
    """
    if "val_ua" in figures:
        return f"validation UA {100 * figures['val_ua']:.1f} %, macro-F1 {100 * figures['val_macro_f1']:.1f} %"
    return f"validation loss {figures['val_loss']:.4f}"


def _validations(run: Path) -> list[dict[str, float]]:
    """The figures of every validation in the log of ``run``, in order."""
    lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "val_loss" in line]


def _metrics(validations: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The ``best`` and the ``last`` of ``validations``: best by UA, then macro-F1, then loss; the first of equals."""

    def merit(figures: dict[str, float]) -> tuple[float, float, float]:
        return figures.get("val_ua", 0.0), figures.get("val_macro_f1", 0.0), -figures["val_loss"]

    return {"best": max(validations, key=merit), "last": validations[-1]} if validations else {}


def _keep_best(run: Path, network: PretrainNetwork) -> None:
    """Write RUN/metrics.json, and RUN/best if the last validation was the best."""
    metrics = _metrics(_validations(run))
    if metrics["best"] == metrics["last"]:
        temporary = run / f".{BEST}"
        shutil.rmtree(temporary, ignore_errors=True)
        save_model(network.model, temporary)
        shutil.rmtree(run / BEST, ignore_errors=True)
        temporary.rename(run / BEST)
    temporary = run / f".{METRICS}"
    temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    temporary.rename(run / METRICS)


def _report(plan: Plan, log: RunLog, step: int, group: list[Batch], result: StepResult, rate: float) -> None:
    speed = log.advance(step, result.loss, result.samples)
    for line in (line for batch in group for line in batch.undecodable):
        print(legible(f"cannot be decoded, left out: {line}"), file=sys.stderr)
        log.write(step, undecodable=line)
    if step % plan.log_every == 0:
        log.write(step, loss=result.loss, gradient_norm=result.norm, learning_rate=rate, samples_per_s=round(speed, 2))
