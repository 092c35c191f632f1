"""The inputs of what follows a frozen encoder: computed once, held in memory, and batched as shards are."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lanser_ops.audio.decode import AudioError, read_all
from training.dataset import Batch, Layout, in_pieces, stream_shards
from training.features import generator_for
from training.frozen import summaries, together
from training.mixture import SampleSet, copies
from training.model import EmotionModel
from training.progress import StepProgress

# Clips that are decoded and held as waveforms at a time.
CHUNK = 256
# Clips that the level and the band of a corpus are measured on.
MEASURED = 500
# Clips over which summaries are standardised: more do not change means and deviations that matter.
STANDARDISED = 2000


@dataclass(frozen=True)
class Summaries:
    """The summary of every sample, float32 (segments, layers, size); None for one that cannot be decoded.

    ``faults`` has a line for each of these.
    """

    by_row: tuple[Tensor | None, ...]
    faults: tuple[str, ...] = ()

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Summaries of ``rows``, float32 (batch, segments, layers, size), zero beyond their segments, int (batch,)."""
        return together([summary for row in rows if (summary := self.by_row[row]) is not None])

    def clips(self, size: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Batches of up to ``size`` of all samples that can be decoded, in order, and their rows."""
        rows = [row for row, summary in enumerate(self.by_row) if summary is not None]
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield *self.batch(part), part


@dataclass(frozen=True)
class SummaryBatches:
    """The micro-batches of ``epochs``, the first from ``start`` on, of a single process, in a random order."""

    samples: SampleSet
    summaries: Summaries
    layout: Layout
    epochs: range
    start: int

    def __iter__(self) -> Iterator[Batch]:
        start = self.start
        for epoch in self.epochs:
            rows = np.repeat(np.arange(len(self.samples.keys)), copies(self.samples, self.layout.seed, epoch))
            order = torch.randperm(len(rows), generator=generator_for(self.layout.seed, epoch, "order")).numpy()
            for part in np.array_split(rows[order], -(-len(rows) // self.layout.batch_size))[start:]:
                decodable = [row for row in part.tolist() if self.summaries.by_row[row] is not None]
                # A batch without any takes its step with a weight of zero, so that the number of steps is known.
                weight = 1.0 if decodable else 0.0
                decodable = decodable or [self._decodable]
                inputs, lengths = self.summaries.batch(decodable)
                yield Batch(
                    keys=[self.samples.keys[row] for row in decodable],
                    waves=inputs,
                    lengths=lengths,
                    targets=self.samples.targets[decodable],
                    weights=self.samples.weights[decodable] * weight,
                    draws=torch.zeros(len(decodable), 0),
                    undecodable=[],
                )
            start = 0

    @property
    def _decodable(self) -> int:
        return next(row for row, summary in enumerate(self.summaries.by_row) if summary is not None)


def first_waves(samples: SampleSet) -> Iterator[np.ndarray]:
    """The first waveforms of every shard, float32 (samples,) at 16 kHz, about MEASURED in all."""
    for shard in samples.shards:
        for sample in itertools.islice(stream_shards([shard]), -(-MEASURED // len(samples.shards))):
            with contextlib.suppress(AudioError):
                yield read_all(io.BytesIO(sample["flac"]))


def summarise(
    model: EmotionModel, samples: SampleSet, device: torch.device, cache: Path | None, layout: Layout | None = None
) -> Summaries:
    """The summaries of ``samples`` under ``model``'s encoder: see training.frozen.summaries for the arguments.

    With a ``layout`` clips are in the pieces of its first epoch.
    """
    row_of = {key: row for row, key in enumerate(samples.keys)}
    by_row: list[Tensor | None] = [None] * len(samples.keys)
    faults = []
    progress = StepProgress(len(by_row), unit="clip")
    stream = (sample for sample in stream_shards(samples.shards) if sample["__key__"] in row_of)
    done = 0
    try:
        while chunk := list(itertools.islice(stream, CHUNK)):
            waves: dict[int, np.ndarray] = {}
            for sample in chunk:
                try:
                    wave = read_all(io.BytesIO(sample["flac"]))
                except AudioError as error:
                    faults.append(f"{sample['__key__']}: {error}")
                    continue
                key = sample["__key__"]
                waves[row_of[key]] = wave if layout is None else in_pieces(wave, key, layout, 0)
            for row, summary in zip(waves, summaries(model, list(waves.values()), device, cache), strict=True):
                by_row[row] = summary
            done += len(chunk)
            progress.update(done, "features")
    finally:
        progress.close()
    return Summaries(tuple(by_row), tuple(faults))


def standardise(model: EmotionModel, clips: Summaries) -> None:
    """Standardise ``model``'s pooling over up to STANDARDISED of ``clips``."""
    rows = [row for row, summary in enumerate(clips.by_row) if summary is not None]
    model.pooling.standardise(*clips.batch(rows[:: max(1, -(-len(rows) // STANDARDISED))]))
