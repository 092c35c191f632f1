"""What a run reads: the samples of one corpus, or of several that are mixed in fixed shares.

An epoch has as many samples as all corpora together. In a mixture each corpus contributes its share of them: a corpus
with more samples than that takes turns over the epochs, one with fewer is read several times. Which samples an epoch
has is a function of seed and epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lanser_ops.common.errors import InputError
from training.shards import Index, check_unique


@dataclass(frozen=True)
class SampleSet:
    """Samples with their targets, in the order of the tars.

    ``targets`` float32 (samples, targets) and ``weights`` float32 (samples,) are what `training.losses` makes of the
    labels. ``corpora`` has the corpus of every shard, ``shares`` the share of every corpus, None for a single corpus.
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]
    keys: tuple[str, ...]
    taxonomy: str
    labels: tuple[str, ...]
    targets: Tensor
    weights: Tensor
    corpora: tuple[int, ...]
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Pass:
    """A reading of shard number ``shard`` that takes the ``samples`` samples of more than ``number`` copies."""

    shard: int
    number: int
    samples: int


def join(
    indices: Sequence[Index], targets: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float] | None = None
) -> SampleSet:
    """The samples of all ``indices``, one for each corpus, with the targets and weights of each.

    Raises InputError for corpora of different labels, and for a sample that two of them hold.
    """
    first = indices[0]
    for index in indices[1:]:
        if index.labels != first.labels:
            raise InputError(
                f"{index.shards[0]}: labels {', '.join(index.labels)} of {index.taxonomy}, but {first.shards[0]} has "
                f"{', '.join(first.labels)} of {first.taxonomy}; relabel the shards for one taxonomy, or give --map"
            )
    keys = tuple(key for index in indices for key in index.keys)
    check_unique(keys)
    return SampleSet(
        shards=tuple(shard for index in indices for shard in index.shards),
        counts=tuple(count for index in indices for count in index.counts),
        keys=keys,
        taxonomy=first.taxonomy,
        labels=first.labels,
        targets=torch.cat([rows for rows, _ in targets]),
        weights=torch.cat([rows for _, rows in targets]),
        corpora=tuple(number for number, index in enumerate(indices) for _ in index.shards),
        shares=None if shares is None else tuple(shares),
    )


def copies(samples: SampleSet, seed: int, epoch: int) -> np.ndarray:
    """How often each sample is read in ``epoch``, int64 (samples,)."""
    count = len(samples.keys)
    if samples.shares is None:
        return np.ones(count, np.int64)
    corpus_of = np.repeat(samples.corpora, samples.counts)
    result = np.zeros(count, np.int64)
    for corpus, share in enumerate(samples.shares):
        rows = np.flatnonzero(corpus_of == corpus)
        times, rest = divmod(round(share * count), len(rows))
        # A window over one permutation, which moves on with the epochs, so that every sample has its turn.
        order = np.random.default_rng([seed, corpus]).permutation(len(rows))
        window = (epoch * rest + np.arange(rest)) % len(rows)
        result[rows] = times
        result[rows[order[window]]] += 1
    return result


def passes(samples: SampleSet, seed: int, epoch: int) -> list[Pass]:
    """How the shards are read in ``epoch``: a shard whose samples come up to n times is read n times."""
    counts = copies(samples, seed, epoch)
    ends = np.cumsum(samples.counts)
    by_shard = [counts[end - size : end] for end, size in zip(ends, samples.counts, strict=True)]
    return [
        Pass(shard, number, int((of_shard > number).sum()))
        for shard, of_shard in enumerate(by_shard)
        for number in range(of_shard.max())
    ]
