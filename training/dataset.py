"""Batches from shards, in an order that is a function of seed and epoch and can be entered anywhere.

Tars are read as streams and shuffled in a buffer by webdataset. Around it stands what webdataset leaves
open: it splits shards over ranks and workers, but ranks then differ in their number of steps (its remedies
drop or repeat samples), and it has no position to come back to. Here the index says how many samples each
reader has, so

- every reader cuts its samples into the same number of batches, as even as can be, and no rank waits;
- step t of an epoch is batch t // workers of worker t % workers, so a position is one number, and a reader
  passes over what was read before without decoding it.

A reader is one worker of one rank. Readers are numbered worker by worker, so that one process that
accumulates R micro-batches from R times the workers sees what R processes see.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.audio import AudioError, decode, pad
from training.errors import InputError
from training.features import LOG_MEL, Augment, crop, draw, draw_size, generator_for
from training.shards import Index


@dataclass(frozen=True)
class Layout:
    """Who reads what. ``workers`` is per rank and at least 1; ``buffer`` counts samples per reader."""

    seed: int
    batch_size: int
    crop_s: float
    workers: int
    buffer: int
    rank: int = 0
    world: int = 1

    @property
    def readers(self) -> int:
        return self.workers * self.world


@dataclass
class Batch:
    """A micro-batch; a sample of weight 0 stands for one that did not decode, or for an empty batch.

    ``waves`` float32 (batch, samples), ``lengths`` int64 (batch,), ``targets`` float32 (batch, labels), each row
    a distribution, ``weights`` float32 (batch,), ``draws`` float32 (batch, draw_size).
    """

    keys: list[str]
    waves: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor
    draws: Tensor
    undecodable: list[str]

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:  # DataLoader calls it by this name
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = (self.waves, self.lengths, self.targets, self.weights, self.draws)
        return Batch(self.keys, *map(change, tensors), self.undecodable)


def check_layout(index: Index, layout: Layout) -> None:
    """Raise InputError where there are fewer shards than readers."""
    if len(index.shards) < layout.readers:
        raise InputError(
            f"{len(index.shards)} shards for {layout.readers} readers ({layout.world} processes of {layout.workers} "
            f"loader workers): use --workers {max(1, len(index.shards) // layout.world)} or fewer processes, or build "
            f"with --num-shards {layout.readers} or more"
        )


def assign(counts: Sequence[int], readers: int, seed: int, epoch: int) -> list[list[int]]:
    """For every reader the shards it reads in ``epoch``, in order; each shard goes to one reader.

    Shards are dealt in a random order, each to the reader with the fewest samples so far.
    """
    order = list(range(len(counts)))
    random.Random(f"shards {seed} {epoch}").shuffle(order)
    dealt: list[list[int]] = [[] for _ in range(readers)]
    loads = [0] * readers
    for shard in order:
        reader = loads.index(min(loads))
        dealt[reader].append(shard)
        loads[reader] += counts[shard]
    return dealt


def batches_per_reader(counts: Sequence[int], layout: Layout, epoch: int) -> int:
    """How many batches every reader makes in ``epoch``: enough for the one with the most samples."""
    dealt = assign(counts, layout.readers, layout.seed, epoch)
    return max(-(-sum(counts[shard] for shard in shards) // layout.batch_size) for shards in dealt)


class ShardReader(IterableDataset):
    """The micro-batches of ``epochs`` on one rank, one epoch after the other, the first from ``start`` on.

    One reader serves a whole run, so that its processes are started once, and make the first batches of an epoch
    while the last ones of that before are trained on.
    """

    def __init__(
        self,
        index: Index,
        targets: Tensor,
        weights: Tensor,
        layout: Layout,
        augment: Augment,
        epochs: range,
        start: int,
    ):
        self.index, self.targets, self.weights = index, targets, weights
        self.layout, self.augment, self.epochs, self.start = layout, augment, epochs, start
        self.rows = {key: row for row, key in enumerate(index.keys)}

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        number = info.id if info else 0
        # The loader asks worker process 0 first, so that process takes the part that is due at `start`. Every worker
        # has as many batches in an epoch, so the turns stay the same in the epochs after.
        worker = (number + self.start) % self.layout.workers
        first = self.start // self.layout.workers + (worker < self.start % self.layout.workers)
        for epoch in self.epochs:
            yield from self._batches(worker * self.layout.world + self.layout.rank, epoch, first)
            first = 0

    def _batches(self, reader: int, epoch: int, first: int) -> Iterator[Batch]:
        layout, counts = self.layout, self.index.counts
        shards = assign(counts, layout.readers, layout.seed, epoch)[reader]
        total = sum(counts[shard] for shard in shards)
        batches = batches_per_reader(counts, layout, epoch)
        ends = [(number + 1) * total // batches for number in range(batches)]
        samples = self._shuffled(shards, reader, epoch)
        for _ in range(ends[first - 1] if first else 0):
            next(samples)
        for number in range(first, batches):
            size = ends[number] - (ends[number - 1] if number else 0)
            yield self._collate([next(samples) for _ in range(size)], epoch)

    def _shuffled(self, shards: Sequence[int], reader: int, epoch: int) -> Iterator[dict]:
        order = random.Random(f"samples {self.layout.seed} {epoch} {reader}")
        shuffle = wds.shuffle(self.layout.buffer, initial=self.layout.buffer, rng=order)
        return iter(shuffle(stream_shards([self.index.shards[shard] for shard in shards])))

    def _collate(self, samples: list[dict], epoch: int) -> Batch:
        size = round(self.layout.crop_s * LOG_MEL.sample_rate)
        keys = [sample["__key__"] for sample in samples]
        draws = [draw(self.augment, generator_for(self.layout.seed, epoch, key)) for key in keys]
        waves, undecodable = [], []
        for sample, numbers in zip(samples, draws, strict=True):
            try:
                waves.append(crop(decode(sample["flac"]), size, float(numbers[0])))
            except AudioError as error:
                undecodable.append(f"{sample['__key__']}: {error}")
                waves.append(None)
        if not keys:
            return silent_batch(self.targets.shape[1], size, draw_size(self.augment))
        silence = np.zeros(size, np.float32)
        padded, lengths = pad([silence if wave is None else wave for wave in waves], size)
        rows = [self.rows[key] for key in keys]
        heard = torch.tensor([wave is not None for wave in waves], dtype=torch.float32)
        return Batch(
            keys,
            torch.from_numpy(padded),
            torch.from_numpy(lengths),
            self.targets[rows],
            self.weights[rows] * heard,
            torch.stack(draws),
            undecodable,
        )


def silent_batch(labels: int, samples: int, draws: int) -> Batch:
    """One silent clip of weight 0: what a reader that has run out of samples gives, so that ranks stay in step."""
    return Batch(
        keys=[],
        waves=torch.zeros(1, samples),
        lengths=torch.tensor([samples]),
        targets=torch.full((1, labels), 1 / labels),
        weights=torch.zeros(1),
        draws=torch.zeros(1, draws),
        undecodable=[],
    )


def stream_shards(paths: Sequence[str]) -> Iterator[dict]:
    """WebDataset samples of the tars at ``paths``, one after the other: ``__key__`` and bytes by extension."""

    def opened() -> Iterator[dict]:
        for path in paths:
            with open(path, "rb") as stream:
                yield {"url": path, "stream": stream}

    return wds.tariterators.group_by_keys(wds.tariterators.tar_file_expander(opened()))


def make_loader(reader: ShardReader, processes: bool, pin: bool) -> DataLoader:
    """The batches of ``reader``, decoded in ``layout.workers`` processes, or here where ``processes`` is false."""
    if not processes and reader.layout.workers > 1:
        raise ValueError("without worker processes there is one worker")
    workers = reader.layout.workers if processes else 0
    return DataLoader(reader, batch_size=None, num_workers=workers, pin_memory=pin)
