"""NeMo's tarred datasets: for every split tars of audio, a manifest of all, and one for each tar.

The layout is that of NeMo's ``convert_to_tarred_audio_dataset.py``:
https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html#tarred-datasets
The audio is copied: NeMo's Lhotse loader stops at a member of a tar that the manifest lacks, such as a shard's JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from lanser_ops import tar
from lanser_ops.exports.source import ExportSample, ExportSource, read_samples
from lanser_ops.tar import Buffer

MANIFEST = "tarred_audio_manifest.json"
SHARDED = "sharded_manifests"


def write(source: ExportSource, folder: Path) -> None:
    """``audio_N.tar`` for every shard of ``source``, N from 0 within a split, and the manifests."""
    for split, shards in source.splits.items():
        (folder / split / SHARDED).mkdir(parents=True)
        with (folder / split / MANIFEST).open("wb") as manifest:
            for shard in shards:
                with (
                    (folder / split / f"audio_{shard.number}.tar").open("wb") as audio,
                    (folder / split / SHARDED / f"manifest_{shard.number}.json").open("wb") as of_shard,
                ):
                    tar.write_tar(audio, _members(read_samples(shard), shard.number, (manifest, of_shard)))


def _members(
    samples: Iterator[ExportSample], shard_id: int, manifests: tuple[BinaryIO, ...]
) -> Iterator[tuple[bytes, Buffer]]:
    """The members of the tar; the entry of each sample is written to ``manifests`` on the way."""
    for sample in samples:
        entry = orjson.dumps(_entry(sample, shard_id), option=orjson.OPT_APPEND_NEWLINE)
        for manifest in manifests:
            manifest.write(entry)
        yield f"{sample.key}.flac".encode(), sample.flac


def _entry(sample: ExportSample, shard_id: int) -> dict[str, Any]:
    entry = {
        "audio_filepath": f"{sample.key}.flac",
        "duration": sample.duration_s,
        "text": sample.text,
        "lang": sample.language,
        "speaker": sample.speaker,
        "label": sample.label,
        "label_index": sample.label_index,
        "score": sample.score,
        "margin": sample.margin,
        "entailment": sample.entailment,
        "shard_id": shard_id,
    }
    return {name: value for name, value in entry.items() if value is not None}
