"""Lhotse Shar: for every split a folder of ``cuts.NNNNNN.jsonl.gz`` and ``recording.NNNNNN.tar``.

Shar tars are pairs of data and manifest (https://lhotse.readthedocs.io/en/latest/shar.html), so the audio is copied, as
the FLAC that it is; `lhotse.shar.SharWriter` would decode it and encode it again. The emotion is in ``custom`` of the
supervision, where Lhotse's recipes for emotional speech put it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from lanser_ops import tar
from lanser_ops.exports.source import ExportSample, ExportSource, read_samples
from lanser_ops.tar import Buffer


def write(source: ExportSource, folder: Path) -> None:
    """One Shar shard for every shard of ``source``."""
    for shard in source.shards:
        split = folder / shard.split
        split.mkdir(exist_ok=True)
        suffix = f"{shard.number:06d}"
        with (
            (split / f"recording.{suffix}.tar").open("wb") as recordings,
            (split / f"cuts.{suffix}.jsonl.gz").open("wb") as compressed,
            # No name and no time in its header: equal content gives equal bytes.
            gzip.GzipFile("", "wb", fileobj=compressed, mtime=0) as cuts,
        ):
            tar.write_tar(recordings, _members(read_samples(shard), source.taxonomy, cuts))


def _members(samples: Iterator[ExportSample], taxonomy: str, cuts: gzip.GzipFile) -> Iterator[tuple[bytes, Buffer]]:
    """The members of the tar; the cut of each sample is written to ``cuts`` on the way."""
    for sample in samples:
        recording = _recording(sample)
        cuts.write(orjson.dumps(_cut(sample, recording, taxonomy), option=orjson.OPT_APPEND_NEWLINE))
        yield f"{sample.key}.flac".encode(), sample.flac
        yield f"{sample.key}.json".encode(), orjson.dumps(recording, option=orjson.OPT_APPEND_NEWLINE)


def _recording(sample: ExportSample) -> dict[str, Any]:
    """A recording whose audio is the member before its manifest."""
    return {
        "id": sample.key,
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": sample.rate,
        "num_samples": sample.frames,
        "duration": sample.duration_s,
        "channel_ids": [0],
    }


def _cut(sample: ExportSample, recording: dict[str, Any], taxonomy: str) -> dict[str, Any]:
    supervision = {
        "id": sample.key,
        "recording_id": sample.key,
        "start": 0.0,
        "duration": sample.duration_s,
        "channel": 0,
        "text": sample.text,
        "language": sample.language,
        "speaker": sample.speaker,
        "custom": {
            "emotion": sample.label,
            "label_index": sample.label_index,
            "score": sample.score,
            "margin": sample.margin,
            "entailment": sample.entailment,
            "taxonomy": taxonomy,
        },
    }
    return {
        "id": sample.key,
        "start": 0.0,
        "duration": sample.duration_s,
        "channel": 0,
        "supervisions": [{name: value for name, value in supervision.items() if value is not None}],
        "recording": recording,
        "type": "MonoCut",
    }
