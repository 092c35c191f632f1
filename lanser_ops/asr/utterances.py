"""Decode the recordings of a unit and cut them into utterances."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops.audio import recordings, segment
from lanser_ops.audio.decode import SAMPLE_RATE, AudioError
from schemas.records import Reject, SourceRow, make_reject
from schemas.specs import CutSpec

STAGE = "transcribe"
# Utterances that are decoded ahead of the recogniser.
AHEAD = 16
# A row with a transcript is a single utterance, however long; a longer one is a mistake in the manifest.
MAX_GIVEN_S = 300.0


@dataclass(frozen=True)
class Utterance:
    """A stretch [start_s, end_s) of a source row with its float32 samples at 16 kHz."""

    row: SourceRow
    start_s: float
    end_s: float
    samples: np.ndarray


def utterances_of(rows: Sequence[SourceRow], roots: Sequence[str], spec: CutSpec) -> Iterator[Utterance | Reject]:
    """Decode and cut ``rows``. Recordings that cannot be decoded and gaps between utterances are rejects."""
    for group in recordings.by_recording(rows):
        if recordings.is_broken_tar(group[0]):
            yield row_reject(group[0], "broken_tar")
            continue
        bounded = []
        for row in group:
            start, end = row.start_s or 0.0, row.end_s
            if start < 0 or (end is not None and end <= start):
                yield row_reject(row, "bad_range", f"start_s {row.start_s}, end_s {row.end_s}")
            elif row.text is not None or (end is not None and end - start <= MAX_GIVEN_S):
                bounded.append(row)
            else:
                yield from _streamed(row, roots, spec)
        if bounded:
            yield from _bounded(bounded, roots, spec)


def _streamed(row: SourceRow, roots: Sequence[str], spec: CutSpec) -> Iterator[Utterance | Reject]:
    """Utterances of a whole recording, or of a stretch of any length, cut while it is decoded."""
    first = recordings.to_samples(row.start_s or 0.0)
    last = None if row.end_s is None else recordings.to_samples(row.end_s)
    reached = first
    try:
        blocks = recordings.between(recordings.decode_recording(row, roots), first, last)
        for item in _cut(row, first, blocks, spec):
            yield item
            assert item.end_s is not None  # `_cut` states both ends of every item
            reached = recordings.to_samples(item.end_s)
    except AudioError as error:
        # The utterances of a long recording before the fault remain; the rest is one reject.
        start_s = reached / SAMPLE_RATE if reached > first else row.start_s
        yield make_reject(row.source, start_s, row.end_s, STAGE, _reason(error), error.detail)
    except OSError as error:
        yield row_reject(row, "missing", _one_line(error))
    else:
        if reached == first:
            yield row_reject(row, "bad_range", f"start_s {row.start_s} is after the end of the recording")


def _bounded(rows: list[SourceRow], roots: Sequence[str], spec: CutSpec) -> Iterator[Utterance | Reject]:
    """Utterances of stretches short enough to hold in memory, all of one recording, in one pass over it."""
    ranges = []
    for row in rows:
        start = row.start_s or 0.0
        end = start + MAX_GIVEN_S + 1.0 if row.end_s is None else min(row.end_s, start + MAX_GIVEN_S + 1.0)
        ranges.append((recordings.to_samples(start), recordings.to_samples(end)))
    pending = set(range(len(rows)))
    try:
        for index, samples in recordings.cut_blocks(recordings.decode_recording(rows[0], roots), ranges):
            row, first = rows[index], ranges[index][0]
            pending.discard(index)
            if not len(samples):
                yield row_reject(row, "bad_range", f"start_s {row.start_s} is after the end of the recording")
            elif row.text is None:
                yield from _cut(row, first, [samples], spec)
            elif len(samples) > MAX_GIVEN_S * SAMPLE_RATE:
                yield row_reject(row, "too_long", f"a row with a transcript holds at most {MAX_GIVEN_S:.0f} s")
            else:
                yield _utterance(row, first, samples)
    except AudioError as error:
        yield from (row_reject(rows[index], _reason(error), error.detail) for index in sorted(pending))
    except OSError as error:
        yield from (row_reject(rows[index], "missing", _one_line(error)) for index in sorted(pending))


def _cut(row: SourceRow, first: int, blocks: Iterable[np.ndarray], spec: CutSpec) -> Iterator[Utterance | Reject]:
    """Segment ``blocks``, which start at sample ``first`` of the recording."""
    for stretch in segment.segment(blocks, spec.max_duration_s):
        if stretch.samples is None:
            start_s, end_s = (first + stretch.start) / SAMPLE_RATE, (first + stretch.end) / SAMPLE_RATE
            yield make_reject(row.source, start_s, end_s, STAGE, "no_speech", "a pause in a long recording")
        else:
            yield _utterance(row, first + stretch.start, stretch.samples)


def _utterance(row: SourceRow, first: int, samples: np.ndarray) -> Utterance:
    return Utterance(row, first / SAMPLE_RATE, (first + len(samples)) / SAMPLE_RATE, samples)


def row_reject(row: SourceRow, reason: str, detail: str = "") -> Reject:
    return make_reject(row.source, row.start_s, row.end_s, STAGE, reason, detail)


def _reason(error: AudioError) -> str:
    """The reason for the reject: a file without samples counts as one without speech."""
    return "no_speech" if error.reason == "empty" else error.reason


def _one_line(error: OSError) -> str:
    """What happened, without the path: the row has its own, and rejects are published."""
    return " ".join((error.strerror or str(error)).split()) or type(error).__name__


def read_ahead(items: Iterator[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """The same items, produced in a separate thread so that decoding overlaps with recognition."""
    end = object()
    stop = threading.Event()
    waiting: queue.Queue = queue.Queue(maxsize=AHEAD)

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.5)
                return
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:  # the consumer raises it
            put(error)

    thread = threading.Thread(target=fill, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
