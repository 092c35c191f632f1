"""The audio of source rows: which stretches of which recordings, each recording decoded once."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

import numpy as np

from lanser_ops import storage
from lanser_ops.audio import guarded
from lanser_ops.audio.decode import SAMPLE_RATE, AudioError
from lanser_ops.corpus.folders import on_disk
from lanser_ops.output.dataset import recording_path
from schemas.records import SourceRow, Transcript


@dataclass(frozen=True)
class Lost:
    """Why a recording no longer gives the audio that was transcribed; ``reason`` is a key of `REASONS`."""

    reason: str
    detail: str


def by_recording(rows: Sequence[SourceRow]) -> Iterator[list[SourceRow]]:
    """Consecutive rows of the same recording (the plan keeps them together)."""
    for _, group in groupby(rows, key=lambda row: (row.root, row.path, row.offset)):
        yield list(group)


def is_broken_tar(row: SourceRow) -> bool:
    """Whether `lanser_ops.corpus.sources` made this row for a tar whose end it could not read."""
    return row.offset is None and row.path.lower().endswith(".tar")


def open_recording(row: SourceRow, roots: Sequence[str]) -> BinaryIO:
    """Open the file of ``row``, or the member of a tar that it names. Raises OSError."""
    path = recording_path(row, roots)
    if storage.is_remote(path):
        if not storage.is_store(path):
            raise OSError(errno.EPROTONOSUPPORT, "addresses of this kind are not read", path)
    elif "\0" in path:
        raise FileNotFoundError(errno.ENOENT, "no file has a NUL in its name", path)
    elif os.path.isdir(path := on_disk(path)):
        raise IsADirectoryError(errno.EISDIR, "a folder that cannot be listed, or is named as a file", path)
    if row.offset is None:
        return storage.open_seekable(path)
    return io.BytesIO(storage.read_range(path, row.offset, row.bytes))


def decode_recording(row: SourceRow, roots: Sequence[str]) -> Iterator[np.ndarray]:
    """Blocks of float32 samples at 16 kHz. Raises AudioError or OSError, possibly after some blocks."""
    with open_recording(row, roots) as stream:
        yield from guarded.decode(stream)


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
    """(index, samples) of every [start, end) range in samples, as soon as the blocks have passed its end.

    Ranges may overlap and come in any order. A range that extends past the last block is cut short, and one that starts
    after it has no samples. Only ranges in progress are held in memory. An error of ``blocks`` is raised after the
    ranges that were complete.
    """
    waiting = sorted(range(len(ranges)), key=lambda index: ranges[index])
    waiting.reverse()
    in_progress: dict[int, list[np.ndarray]] = {}
    position = 0
    for block in blocks:
        stop = position + len(block)
        while waiting and ranges[waiting[-1]][0] < stop:
            in_progress[waiting.pop()] = []
        for index in list(in_progress):
            start, end = ranges[index]
            in_progress[index].append(block[max(0, start - position) : max(0, end - position)])
            if end <= stop:
                yield index, np.concatenate(in_progress.pop(index))
        position = stop
        if not waiting and not in_progress:
            return
    for index, pieces in in_progress.items():
        yield index, np.concatenate(pieces)
    for index in reversed(waiting):
        yield index, np.zeros(0, np.float32)


def read_utterances(
    transcripts: Sequence[Transcript], rows: Sequence[SourceRow], roots: Sequence[str]
) -> Iterator[tuple[Transcript, np.ndarray | Lost]]:
    """Every transcript of a recording in ``rows`` with its audio, float32 (samples,) at 16 kHz, or why there is none.

    Each recording is decoded once, as a stream.
    """
    by_source: dict[str, list[Transcript]] = {}
    for transcript in transcripts:
        by_source.setdefault(transcript.source, []).append(transcript)
    for group in by_recording(rows):
        utterances = dict(enumerate(by_source.pop(group[0].source, [])))
        if not utterances:
            continue
        cuts = [(to_samples(each.start_s), to_samples(each.end_s)) for each in utterances.values()]
        lost = Lost("decode_error", "the recording has changed since it was transcribed")
        try:
            for index, samples in cut_blocks(decode_recording(group[0], roots), cuts):
                if len(samples) == cuts[index][1] - cuts[index][0]:
                    yield utterances.pop(index), samples
        except AudioError as error:  # perhaps late in a long recording: what came before it is complete
            lost = Lost(error.reason, error.detail)
        except OSError as error:
            lost = Lost("missing", " ".join((error.strerror or str(error)).split()))  # rejects name no path
        for utterance in utterances.values():
            yield utterance, lost
