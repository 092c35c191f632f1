"""The inputs of what follows a frozen encoder: computed once, held in memory, and batched as shards are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.dataset import Batch, Layout
from training.features import generator_for
from training.mixture import SampleSet, copies


@dataclass(frozen=True)
class Summaries:
    """The summary of every sample, float32 (segments, layers, size); None for one that cannot be decoded.

    ``faults`` has a line for each of these.
    """

    by_row: tuple[Tensor | None, ...]
    faults: tuple[str, ...] = ()

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Summaries of ``rows``, float32 (batch, segments, layers, size), zero beyond their segments, int (batch,)."""
        summaries = [summary for row in rows if (summary := self.by_row[row]) is not None]
        return pad_sequence(summaries, batch_first=True), torch.tensor([len(summary) for summary in summaries])

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
