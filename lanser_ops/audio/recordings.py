"""From source rows to audio: which stretches of which recordings, decoded once each."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

import numpy as np

from lanser_ops import storage
from lanser_ops.audio.decode import SAMPLE_RATE, decode
from schemas.records import SourceRow


def by_recording(rows: Sequence[SourceRow]) -> Iterator[list[SourceRow]]:
    """Consecutive rows of the same recording (the plan keeps them together)."""
    for _, group in groupby(rows, key=lambda row: (row.root, row.path, row.offset)):
        yield list(group)


def is_broken_tar(row: SourceRow) -> bool:
    """True for the row that `lanser_ops.corpus.sources` gives a tar whose end it could not read."""
    return row.offset is None and row.path.lower().endswith(".tar")


def open_recording(row: SourceRow, roots: Sequence[str]) -> BinaryIO:
    """Open the file of ``row``, or the tar member that it names. Raises OSError."""
    path = storage.join(roots[row.root], row.path)
    if row.offset is None:
        return storage.open_seekable(path)
    with storage.open_read(path) as stream:
        stream.seek(row.offset)
        return io.BytesIO(stream.read(row.bytes))


def decode_recording(row: SourceRow, roots: Sequence[str]) -> Iterator[np.ndarray]:
    """Blocks of float32 samples at 16 kHz. Raises AudioError or OSError, perhaps after some blocks."""
    with open_recording(row, roots) as stream:
        yield from decode(stream)


def to_samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def between(blocks: Iterable[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """The samples [first, last) of ``blocks``; ``last`` None: to their end."""
    position = 0
    for block in blocks:
        part = block[max(0, first - position) : None if last is None else max(0, last - position)]
        position += len(block)
        if len(part):
            yield part
        if last is not None and position >= last:
            return


def cut_blocks(blocks: Iterable[np.ndarray], ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
    """(index, samples) of every [start, end) range, as soon as the blocks have passed its end.

    Ranges may overlap and come in any order; one that reaches past the last block is cut short, and one
    that starts there gives no samples. Memory holds the ranges that are under way, nothing else. An
    error of ``blocks`` comes through after the ranges that were whole.
    """
    waiting = sorted(range(len(ranges)), key=lambda index: ranges[index])
    waiting.reverse()
    under_way: dict[int, list[np.ndarray]] = {}
    position = 0
    for block in blocks:
        stop = position + len(block)
        while waiting and ranges[waiting[-1]][0] < stop:
            under_way[waiting.pop()] = []
        for index in list(under_way):
            start, end = ranges[index]
            under_way[index].append(block[max(0, start - position) : max(0, end - position)])
            if end <= stop:
                yield index, np.concatenate(under_way.pop(index))
        position = stop
        if not waiting and not under_way:
            return
    for index, pieces in under_way.items():
        yield index, np.concatenate(pieces)
    for index in reversed(waiting):
        yield index, np.zeros(0, np.float32)
