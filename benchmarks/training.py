#!/usr/bin/env python3
"""What reading costs a pre-training run: steps a second from shards, against the same steps over cached tensors.

    python -m benchmarks.training out/demo --backbone resnet50 --batch-size 16

With -m, since as a script its own name would hide the package that it measures. Both loops make whole optimizer
steps, augmentation included. Rounds of the two take turns, so that what else the machine does meets both; a
loop's figure is the median of its rounds. Batches that the loader made during the other loop's round are used up
before the clock runs. The loader starts once a run; what that takes is shown apart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from training.dataset import Batch, Layout, ShardReader, make_loader
from training.features import Augment
from training.loop import make_optimizer, train_step
from training.losses import TargetSpec, label_prior, make_targets
from training.model import RESNETS, new_model
from training.shards import find_shards, read_index

# Batches that a loader process has ready, or under way: two, and one more in the queue.
READY = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--backbone", choices=RESNETS, default="resnet50")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--crop-s", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    accelerator = Accelerator(mixed_precision=args.precision)
    index = read_index(find_shards(args.shards, "train"))
    layout = Layout(0, args.batch_size, args.crop_s, args.workers, 500)
    targets, weights = make_targets(index, TargetSpec(), label_prior(index), 0)

    # One loader for all rounds, as the trainer has one for all epochs.
    reader = ShardReader(index, targets, weights, layout, Augment(), range(sys.maxsize), 0)
    begun = time.perf_counter()
    from_shards = iter(make_loader(reader, processes=True, pin=torch.cuda.is_available()))
    cached = [next(from_shards)]
    start = time.perf_counter() - begun
    cached += itertools.islice(from_shards, 3)
    model = new_model(args.backbone, index.taxonomy, index.labels)
    model, optimizer = accelerator.prepare(model.train(), make_optimizer(model, 0.01))

    def rate(batches: Iterator[Batch], steps: int) -> float:
        begun = time.perf_counter()
        for batch in itertools.islice(batches, steps):
            train_step(accelerator, model, optimizer, [batch], 1e-4, Augment())
        return steps / (time.perf_counter() - begun)

    rate(itertools.cycle(cached), 3)  # the first steps choose kernels and fill caches
    rates: dict[str, list[float]] = {"cached": [], "shards": []}
    for number in range(args.rounds):
        rates["cached"].append(rate(itertools.cycle(cached), args.steps))
        rate(from_shards, READY)
        rates["shards"].append(rate(from_shards, args.steps))
        print(f"round {number + 1}: " + ", ".join(f"{name} {each[-1]:.3f} steps/s" for name, each in rates.items()))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    cached_rate, shards_rate = medians["cached"], medians["shards"]
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else f"{args.threads} CPU threads"
    print(
        f"{args.backbone}, batch {args.batch_size}, {args.crop_s:g} s, {args.workers} workers, {device}: from shards "
        f"{shards_rate:.3f} steps/s, cached {cached_rate:.3f} steps/s, ratio {shards_rate / cached_rate:.3f}"
    )
    print(f"the loader starts once a run, in {start:.2f} s")


if __name__ == "__main__":
    main()
