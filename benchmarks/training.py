#!/usr/bin/env python3
"""The cost of reading in a pre-training run: steps per second from shards, and over cached tensors.

    python -m benchmarks.training out/demo --backbone resnet50 --batch-size 16

With -m, since as a script its own name would shadow the package that it measures. Both loops make complete
optimizer steps, including augmentation. Their rounds alternate, so that other load on the machine affects both; a
loop's figure is the median of its rounds. Batches that the loader prepared during the other loop's round are consumed
before timing starts. The loader starts once per run; its start-up time is reported separately.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from training.backbones import RESNETS
from training.dataset import Batch, Layout, ShardReader, make_loader
from training.features import Augment
from training.loop import make_optimizer, train_step
from training.losses import TargetSpec, make_targets
from training.mixture import join
from training.model import new_model
from training.objectives import PretrainNetwork
from training.qualities import ObjectiveSpec
from training.shards import find_shards, read_index

# More batches than a loader process may have prepared ahead.
READY = 4


@dataclass(frozen=True)
class Rates:
    """Steps per second in every round, and the seconds in which the loader starts."""

    shards: list[float]
    cached: list[float]
    start_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--backbone", choices=RESNETS, default="resnet50")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--crop-s", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    accelerator = Accelerator(mixed_precision=args.precision)
    layout = Layout(0, args.batch_size, args.crop_s, args.workers, 500)
    rates = measure(accelerator, args.shards, args.backbone, layout, args.steps, args.rounds)
    for number, pair in enumerate(zip(rates.cached, rates.shards, strict=True)):
        print("round {}: cached {:.3f} steps/s, from shards {:.3f} steps/s".format(number + 1, *pair))
    cached, shards = statistics.median(rates.cached), statistics.median(rates.shards)
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else f"{args.threads} CPU threads"
    print(
        f"{args.backbone}, batch {args.batch_size}, {args.crop_s:g} s, {args.workers} workers, {device}: from shards "
        f"{shards:.3f} steps/s, cached {cached:.3f} steps/s, ratio {shards / cached:.3f}"
    )
    print(f"the loader starts once per run, in {rates.start_s:.2f} s")


def measure(
    accelerator: Accelerator, shards: Sequence[str], backbone: str, layout: Layout, steps: int, rounds: int
) -> Rates:
    """The rates of ``rounds`` rounds of ``steps`` steps each, of both loops in turn."""
    index = read_index(find_shards(shards, "train"))
    samples = join([index], [make_targets(index, TargetSpec(), None, 0)])

    # One loader for all rounds, as the trainer has one for all epochs.
    reader = ShardReader(samples, layout, Augment(), range(sys.maxsize), 0)
    start = time.perf_counter()
    from_shards = iter(make_loader(reader, processes=True, pin=torch.cuda.is_available()))
    cached = [next(from_shards)]
    start_s = time.perf_counter() - start
    cached += itertools.islice(from_shards, 3)
    model = new_model(backbone, index.taxonomy, index.labels)
    network = PretrainNetwork(model.train(), ObjectiveSpec())
    network, optimizer = accelerator.prepare(network, make_optimizer(model, 0.01))

    def rate(batches: Iterator[Batch], steps: int) -> float:
        start = time.perf_counter()
        for batch in itertools.islice(batches, steps):
            train_step(accelerator, network, optimizer, [batch], 1e-4, Augment())
        return steps / (time.perf_counter() - start)

    rate(itertools.cycle(cached), 3)  # the first steps choose kernels and fill caches
    rates = Rates([], [], start_s)
    for _ in range(rounds):
        rates.cached.append(rate(itertools.cycle(cached), steps))
        rate(from_shards, READY)
        rates.shards.append(rate(from_shards, steps))
    return rates


if __name__ == "__main__":
    main()
