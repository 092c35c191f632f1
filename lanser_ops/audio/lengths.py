"""How long the recordings of a plan are, from headers alone, and a sample of them."""

from __future__ import annotations

import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lanser_ops import storage
from lanser_ops.audio import guarded
from lanser_ops.audio.decode import AudioError
from lanser_ops.audio.recordings import is_broken_tar, open_recording
from schemas.records import SourceRow, from_table

# Headers that are read at most; in a store each is a request, and fetches a small file whole.
LOCAL_HEADERS, STORE_HEADERS = 500, 50
# 16 kHz PCM_16, where no header states a length.
DEFAULT_BYTES_PER_S = 32_000.0
# A long recording counts as pieces of about this length, so that a sample of pieces stands for all of the audio.
PIECE_S = 60.0


@dataclass(frozen=True)
class Lengths:
    """``seconds`` of every row of a plan, float64 (rows,), from ``headers`` headers.

    ``estimated`` counts the rows whose length follows from their bytes and the bytes per second of the others.
    """

    seconds: np.ndarray
    headers: int
    estimated: int


def row_lengths(plan: pa.Table, roots: Sequence[str]) -> Lengths:
    """The lengths of the rows of ``plan`` (columns of SOURCE_SCHEMA): stated ends, then headers, then estimates."""
    starts = pc.fill_null(plan.column("start_s"), 0.0).to_numpy()
    with np.errstate(invalid="ignore"):  # a manifest may state any times
        seconds = pc.fill_null(plan.column("end_s"), math.nan).to_numpy() - starts
    seconds[(seconds < 0) | (seconds > guarded.MAX_RECORDING_S)] = 0.0  # becomes a reject
    sizes = plan.column("bytes").to_numpy()
    unknown = np.flatnonzero(np.isnan(seconds))
    limit = STORE_HEADERS if any(map(storage.is_store, roots)) else LOCAL_HEADERS
    # Evenly through all sizes.
    chosen = unknown[np.argsort(sizes[unknown], kind="stable")][evenly(len(unknown), limit)]
    by_extension: dict[str, list[float]] = {}
    headers = 0
    for index, row in zip(chosen.tolist(), from_table(plan.take(pa.array(chosen)), SourceRow), strict=True):
        length = _stated_seconds(row, roots)
        headers += length is not None
        seconds[index] = max(0.0, (length or 0.0) - starts[index])
        if length:
            sums = by_extension.setdefault(_extension(row.path), [0.0, 0.0])
            sums[0] += row.bytes
            sums[1] += length
    estimated = np.flatnonzero(np.isnan(seconds))
    if len(estimated):
        total_bytes, total_s = map(sum, zip(*by_extension.values(), strict=True)) if by_extension else (0.0, 0.0)
        default = total_bytes / total_s if total_s else DEFAULT_BYTES_PER_S
        rates = {extension: size / length for extension, (size, length) in by_extension.items()}
        paths = plan.column("path").take(pa.array(estimated)).to_pylist()
        per_s = np.array([rates.get(_extension(path), default) for path in paths])
        seconds[estimated] = np.maximum(0.0, sizes[estimated] / per_s - starts[estimated])
    return Lengths(seconds, headers, len(estimated))


def evenly(count: int, size: int) -> np.ndarray:
    """The middles of ``size`` equal parts of range(count), or the whole range where it is no longer than that.

    >>> evenly(10, 2), evenly(2, 5)
    (array([2, 7]), array([0, 1]))
    """
    size = min(count, size)
    return ((np.arange(size) + 0.5) * count / max(1, size)).astype(np.int64)


def pieces_of(seconds: np.ndarray, has_text: np.ndarray) -> np.ndarray:
    """Into how many pieces of about PIECE_S each row counts, int64 (rows,); a row with a text is always one."""
    return np.where(has_text, 1, np.maximum(1, np.ceil(seconds / PIECE_S))).astype(np.int64)


def sample_rows(plan: pa.Table, seconds: np.ndarray, pieces: np.ndarray, size: int) -> list[SourceRow]:
    """``size`` pieces of the rows of ``plan``, fewer if there are not as many, in plan order.

    A systematic sample through all lengths (Cochran, Sampling Techniques, 1977, chapter 8): its mean length is about
    that of all pieces, whether they are alike or not. Of a long recording later pieces follow on the second, so that
    little is decoded before them.
    """
    order = np.argsort(seconds / pieces, kind="stable")
    positions = evenly(int(pieces.sum()), size)
    chosen = Counter(order[np.searchsorted(np.cumsum(pieces[order]), positions, side="right")].tolist())
    indices = sorted(chosen)
    sample = []
    for index, row in zip(indices, from_table(plan.take(pa.array(indices)), SourceRow), strict=True):
        length = float(seconds[index]) / int(pieces[index])
        if pieces[index] == 1:
            sample.append(row)
            continue
        for number in sorted((1 + repeat) % int(pieces[index]) for repeat in range(chosen[index])):
            start_s = (row.start_s or 0.0) + number * length
            sample.append(replace(row, start_s=start_s, end_s=start_s + length))
    return sample


def _stated_seconds(row: SourceRow, roots: Sequence[str]) -> float | None:
    if is_broken_tar(row):
        return None
    try:
        with open_recording(row, roots) as stream:
            return guarded.stated_seconds(stream)
    except (AudioError, OSError):
        return None


def _extension(path: str) -> str:
    return posixpath.splitext(path)[1].lower()
