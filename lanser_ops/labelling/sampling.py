"""A sample of weak labels for people to check: every label has its share and a floor, across its scores.

Each label's utterances, in the order of their scores, are cut into as many strata as it has places, and one utterance
is drawn from each. The size of a stratum is the inverse of the probability that its utterance is drawn, so weighted
figures of the sample are unbiased for the corpus (Horvitz & Thompson 1952, "A Generalization of Sampling Without
Replacement from a Finite Universe").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def places(sizes: Sequence[int], rows: int) -> list[int]:
    """How many of ``rows`` each label gets: half of them in equal parts, the rest in proportion to ``sizes``.

    No label gets more than its size; together they get ``rows``, or everything there is.

    >>> places([1000, 100, 3, 0], 60)
    [44, 13, 3, 0]
    """
    rows = min(rows, sum(sizes))
    floor = rows // (2 * max(1, sum(size > 0 for size in sizes)))
    floors = [min(size, floor) for size in sizes]
    free, rest = rows - sum(floors), sum(sizes) - sum(floors)
    shares = [divmod(free * (size - least), max(1, rest)) for size, least in zip(sizes, floors, strict=True)]
    missing = free - sum(share for share, _ in shares)
    by_remainder = sorted(range(len(sizes)), key=lambda label: (-shares[label][1], label))
    rounded_up = set(by_remainder[:missing])
    return [least + shares[label][0] + (label in rounded_up) for label, least in enumerate(floors)]


def draw(
    keys: Sequence[str], label_index: np.ndarray, score: np.ndarray, rows: int, seed: int
) -> list[tuple[int, int]]:
    """(index, weight) of the utterances drawn, in an order that says nothing about label or score.

    ``label_index`` and ``score`` are (utterances,). A weight is the number of utterances that the one drawn stands for.
    Which utterance is drawn from a stratum depends on ``seed`` and ``keys`` alone.
    """
    digests = [hashlib.sha256(f"{seed}\0{key}".encode()).digest() for key in keys]
    drawn = []
    for label, count in enumerate(places(np.bincount(label_index).tolist(), rows)):
        ordered = sorted(np.flatnonzero(label_index == label).tolist(), key=lambda index: (score[index], keys[index]))
        for number in range(count):
            stratum = ordered[len(ordered) * number // count : len(ordered) * (number + 1) // count]
            drawn.append((min(stratum, key=digests.__getitem__), len(stratum)))
    return sorted(drawn, key=lambda pair: digests[pair[0]])
