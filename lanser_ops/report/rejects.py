"""Examples of what was left out, with audio where the recordings can still be read."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lanser_ops import storage
from lanser_ops.audio.decode import AudioError
from lanser_ops.audio.recordings import between, decode_recording, to_samples
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import read_unit, read_units
from lanser_ops.output.dataset import read_roots
from lanser_ops.output.directory import OutputDir
from lanser_ops.report.clips import MAX_SECONDS, read_member
from lanser_ops.report.survey import spread, unit_limit
from lanser_ops.shards.relabel import find_shards
from schemas.records import Reject, from_table

PER_REASON = 3
# A recording is decoded from its start: what lies far into a long one is not worth the wait.
MAX_START_S = 600.0
MAX_RECORDING_BYTES = 64 << 20
# These have no audio, or killed the process that decoded it.
SILENT = ("missing", "bad_range", "gave_up")


def reject_examples(out: OutputDir) -> dict[str, list[Reject]]:
    """Up to PER_REASON rejects by reason, from the same units as `survey`."""
    best: dict[str, list[Reject]] = {}
    for name in spread(sorted(out.names("rejects")), unit_limit(out)):
        for reject in from_table(out.read_table(name), Reject):
            same = [*best.get(reject.reason, []), reject]
            best[reject.reason] = heapq.nsmallest(PER_REASON, same, key=lambda row: (row.key, row.stage))
    return dict(sorted(best.items()))


def read_audio(out: OutputDir, content: dict[str, Any], rejects: list[Reject]) -> Iterator[tuple[str, np.ndarray]]:
    """(key, audio) of the rejects whose recording can be had, the first MAX_SECONDS, float32 (samples,) at 16 kHz.

    It comes from the recordings of ``content``'s plan; where the transcripts came from shards, from these.
    """
    audible = [reject for reject in rejects if reject.reason not in SILENT]
    if not audible:
        return
    with contextlib.suppress(InputError, OSError, AudioError):  # a copy without .private, or shards that are gone
        read = _from_recordings if "plan" in content else _from_shards
        yield from read(out, read_roots(out), audible)


def _from_recordings(out: OutputDir, roots: Sequence[str], rejects: list[Reject]) -> Iterator[tuple[str, np.ndarray]]:
    by_source: dict[str, list[Reject]] = {}
    for reject in rejects:
        by_source.setdefault(reject.source, []).append(reject)
    for unit in spread(read_units(out), unit_limit(out)):
        for row in read_unit(out, unit):
            for reject in by_source.pop(row.source, []) if row.bytes <= MAX_RECORDING_BYTES else []:
                first = to_samples(reject.start_s or 0.0)
                last = first + to_samples(MAX_SECONDS)
                if reject.end_s is not None:
                    last = min(last, to_samples(reject.end_s))
                blocks: list[np.ndarray] = []
                if first <= to_samples(MAX_START_S):
                    with contextlib.suppress(AudioError, OSError):  # what was decoded until then can be heard
                        blocks.extend(between(decode_recording(row, roots), first, last))
                if blocks:
                    yield reject.key, np.concatenate(blocks)


def _from_shards(out: OutputDir, inputs: Sequence[str], rejects: list[Reject]) -> Iterator[tuple[str, np.ndarray]]:
    keys = {reject.key for reject in rejects}
    for tar in spread(find_shards(inputs, out), unit_limit(out)):
        table = out.read_table(out.transcripts(tar.unit), ["key", "flac_offset", "flac_bytes"])
        rows = [row for row in table.to_pylist() if row["key"] in keys]
        if rows:
            with storage.open_read(tar.path) as stream:
                for row in rows:
                    yield row["key"], read_member(stream, row["flac_offset"], row["flac_bytes"])
