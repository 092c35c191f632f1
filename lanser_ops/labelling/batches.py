"""Batches whose shapes do not depend on the data, so that a score does not depend on the texts beside it.

Padding, and matrix products whose shape follows the data, change the last bits of a result. A batch therefore holds
inputs of one exact length in tokens (there is no padding), its number of rows is a function of that length alone, and
a short last batch is filled up with repeats. Bits are equal on one kind of machine; another CPU or library version
may round differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Tokens per batch. CPU: the smallest number at which matrix products reach their full rate, since a unit of some
# hundred inputs has many lengths, and the last batch of each is filled up. A GPU needs more rows to be busy: an H200
# scored twice as many pairs per second with 16,384 tokens as with 4,096 (docs/performance.md).
BATCH_TOKENS = {"cpu": 256, "cuda": 16384}


@dataclass(frozen=True)
class Batch:
    """``indices``: int64, the inputs that are in the batch, at most ``rows``; each is ``length`` tokens long."""

    indices: np.ndarray
    rows: int
    length: int


def batch_rows(length: int, batch_tokens: int) -> int:
    """Rows of a batch whose inputs are ``length`` tokens long: a function of the length alone."""
    return max(1, batch_tokens // length)


def equal_length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[Batch]:
    """Batches of all inputs, shortest first; ``lengths`` is int64 (inputs,), in tokens."""
    order = np.argsort(lengths, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(group):
            length = int(lengths[group[0]])
            rows = batch_rows(length, batch_tokens)
            for start in range(0, len(group), rows):
                yield Batch(group[start : start + rows], rows, length)
