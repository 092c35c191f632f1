"""Batches from shards, in an order that is a function of seed and epoch and can be entered anywhere.

webdataset reads tars as streams and shuffles samples in a buffer. This module adds what webdataset lacks: it
splits shards over ranks and workers, but ranks then differ in their number of steps (its remedies drop or
repeat samples), and it has no position to resume from. Here the index gives the number of samples of each
reader, so

- every reader cuts its samples into the same number of batches, as evenly as possible, and no rank waits;
- step t of an epoch is batch t // workers of worker t % workers, so a position is a single number, and a reader
  skips the samples before it without decoding them.

Samples that no target was made for are passed over. In a mixture (training.mixture) a shard may be read several times
in an epoch, or in part; what is said of shards here then holds for such passes.

A reader is one worker of one rank. Readers are numbered worker by worker, so that one process that accumulates R
micro-batches from R times the workers sees the same samples as R processes.
"""

from __future__ import annotations

import io
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, read_all
from lanser_ops.common.errors import InputError
from training.features import Augment, crop, draw, draw_size, generator_for, pad, shuffle_pieces
from training.mixture import Pass, SampleSet, copies, passes
from training.stores import open_read

# How long a loader's process outlives SIGTERM: a step and a checkpoint of a large model on a slow disk.
LOADER_GRACE_S = 120


@dataclass(frozen=True)
class Layout:
    """How samples are divided among readers.

    ``workers`` is per rank and at least 1; ``buffer`` counts samples per reader. With ``pieces_s`` the clips that are
    trained on are cut into pieces of so many seconds, in a random order.
    """

    seed: int
    batch_size: int
    crop_s: float
    workers: int
    buffer: int
    rank: int = 0
    world: int = 1
    pieces_s: float | None = None

    @property
    def readers(self) -> int:
        return self.workers * self.world


@dataclass
class Batch:
    """A micro-batch; a sample of weight 0 replaces one that cannot be decoded, or fills an empty batch.

    ``waves`` float32 (batch, samples), ``lengths`` int64 (batch,), ``targets`` float32 (batch, targets), those of
    the `SampleSet`, ``weights`` float32 (batch,), ``draws`` float32 (batch, draw_size).
    """

    keys: list[str]
    waves: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor
    draws: Tensor
    undecodable: list[str]

    def to(self, device: torch.device) -> Batch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:  # DataLoader calls this method
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            waves=change(self.waves),
            lengths=change(self.lengths),
            targets=change(self.targets),
            weights=change(self.weights),
            draws=change(self.draws),
        )


def check_layout(samples: SampleSet, layout: Layout) -> None:
    """Raise InputError if there are fewer shards than readers."""
    if len(samples.shards) < layout.readers:
        raise InputError(
            f"{len(samples.shards)} shards for {layout.readers} readers ({layout.world} processes of {layout.workers} "
            f"loader workers): use --workers {max(1, len(samples.shards) // layout.world)} or fewer processes, or "
            f"build with --num-shards {layout.readers} or more"
        )


def assign(counts: Sequence[int], readers: int, seed: int, epoch: int) -> list[list[int]]:
    """For every reader the shards that it reads in ``epoch``, in order; each shard goes to one reader.

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
    """How many batches every reader yields in ``epoch``: enough for the reader with the most samples."""
    dealt = assign(counts, layout.readers, layout.seed, epoch)
    return max(-(-sum(counts[shard] for shard in shards) // layout.batch_size) for shards in dealt)


class ShardReader(IterableDataset):
    """The micro-batches of ``epochs`` on one rank, one epoch after the other, the first from ``start`` on.

    One reader serves a whole run, so that its processes start once, and prepare the first batches of an epoch during
    the last steps of the previous one.
    """

    def __init__(
        self,
        samples: SampleSet,
        layout: Layout,
        augment: Augment,
        epochs: range,
        start: int,
    ):
        self.samples, self.layout, self.augment = samples, layout, augment
        self.epochs, self.start = epochs, start
        self.rows = {key: row for row, key in enumerate(samples.keys)}

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        number = info.id if info else 0
        # The loader asks worker process 0 first, so that process takes the part that is due at `start`. All workers
        # have the same number of batches in an epoch, so the order of their turns stays the same in later epochs.
        worker = (number + self.start) % self.layout.workers
        first = self.start // self.layout.workers + (worker < self.start % self.layout.workers)
        for epoch in self.epochs:
            yield from self._batches(worker * self.layout.world + self.layout.rank, epoch, first)
            first = 0

    def _batches(self, reader: int, epoch: int, first: int) -> Iterator[Batch]:
        layout = self.layout
        readings = passes(self.samples, layout.seed, epoch)
        counts = [reading.samples for reading in readings]
        dealt = assign(counts, layout.readers, layout.seed, epoch)[reader]
        total = sum(counts[number] for number in dealt)
        batches = batches_per_reader(counts, layout, epoch)
        ends = [(number + 1) * total // batches for number in range(batches)]
        order = random.Random(f"samples {layout.seed} {epoch} {reader}")
        shuffle = wds.shuffle(layout.buffer, initial=layout.buffer, rng=order)
        samples = iter(shuffle(self._stream([readings[number] for number in dealt], epoch)))
        for _ in range(ends[first - 1] if first else 0):
            next(samples)
        for number in range(first, batches):
            size = ends[number] - (ends[number - 1] if number else 0)
            yield self._collate([next(samples) for _ in range(size)], epoch)

    def _stream(self, readings: Sequence[Pass], epoch: int) -> Iterator[dict[str, Any]]:
        """The samples of ``readings`` that have a target; ``__pass__`` is the number of the reading."""
        counts = copies(self.samples, self.layout.seed, epoch)
        for reading in readings:
            for sample in stream_shards([self.samples.shards[reading.shard]]):
                row = self.rows.get(sample["__key__"])
                if row is not None and counts[row] > reading.number:
                    yield sample | {"__pass__": reading.number}

    def _collate(self, samples: list[dict[str, Any]], epoch: int) -> Batch:
        size = round(self.layout.crop_s * SAMPLE_RATE)
        if not samples:
            return silent_batch(self.samples.targets.shape[1], size, draw_size(self.augment))
        keys = [sample["__key__"] for sample in samples]
        # A sample that comes again is cut and changed in another way.
        numbers = [sample["__pass__"] for sample in samples]
        seeds = [f"{key} {number}" if number else key for key, number in zip(keys, numbers, strict=True)]
        draws = torch.stack([draw(self.augment, generator_for(self.layout.seed, epoch, key)) for key in seeds])
        rows = [self.rows[key] for key in keys]
        weights = self.samples.weights[rows]
        waves, undecodable = [], []
        for number, sample in enumerate(samples):
            try:
                wave = in_pieces(read_all(io.BytesIO(sample["flac"])), seeds[number], self.layout, epoch)
                waves.append(crop(wave, size, float(draws[number, 0])))
            except AudioError as error:
                undecodable.append(f"{sample['__key__']}: {error}")
                waves.append(np.zeros(size, np.float32))
                weights[number] = 0.0
        padded, lengths = pad(waves, size)
        return Batch(keys, padded, lengths, self.samples.targets[rows], weights, draws, undecodable)


def in_pieces(wave: np.ndarray, key: str, layout: Layout, epoch: int) -> np.ndarray:
    """``wave`` (samples,) as ``layout.pieces_s`` says; the order of pieces depends on ``key``, epoch and seed."""
    if layout.pieces_s is None:
        return wave
    generator = generator_for(layout.seed, epoch, f"{key} pieces")
    return shuffle_pieces(wave, max(1, round(layout.pieces_s * SAMPLE_RATE)), generator)


def silent_batch(targets: int, samples: int, draws: int) -> Batch:
    """One silent clip of weight 0, which a reader without samples left yields, so that ranks stay in step."""
    return Batch(
        keys=[],
        waves=torch.zeros(1, samples),
        lengths=torch.tensor([samples]),
        targets=torch.full((1, targets), 1 / targets),
        weights=torch.zeros(1),
        draws=torch.zeros(1, draws),
        undecodable=[],
    )


def stream_shards(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """WebDataset samples of the tars at ``paths``, one after the other: ``__key__`` and bytes by extension."""

    def open_tars() -> Iterator[dict[str, Any]]:
        for path in paths:
            with open_read(path) as stream:
                yield {"url": path, "stream": stream}

    return wds.tariterators.group_by_keys(wds.tariterators.tar_file_expander(open_tars()))


def make_loader(reader: ShardReader, processes: bool, pin: bool) -> DataLoader:
    """The batches of ``reader``, decoded in ``layout.workers`` processes, or in this one if ``processes`` is false."""
    if not processes and reader.layout.workers > 1:
        raise ValueError("several workers need worker processes")
    workers = reader.layout.workers if processes else 0
    return DataLoader(reader, batch_size=None, num_workers=workers, pin_memory=pin, worker_init_fn=_outlive_sigterm)


def _outlive_sigterm(_: int) -> None:
    """End a loader's process some time after SIGTERM, and not at once.

    Batch systems send it to all processes of a job. The run then takes a last step and writes a checkpoint, and a
    loader that is gone would end it with an error before; one that is not needed any more ends with the run.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LOADER_GRACE_S))
