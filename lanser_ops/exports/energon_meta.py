"""A dataset of Megatron Energon: the shards, and ``.nv-meta`` as ``energon prepare`` writes it.

Format: https://nvidia.github.io/Megatron-Energon/basic/data_prep.html; the tables and their indices are those of
``megatron/energon/flavors/webdataset/indexing.py`` in release 7.4.1.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import uuid
from contextlib import closing
from pathlib import Path

import orjson
import yaml

from lanser_ops.common.errors import InputError
from lanser_ops.exports.folder import place
from lanser_ops.exports.source import ExportSource, ShardFile, read_spans

ENERGON_VERSION = "7.4.1"
META = ".nv-meta"
# Samples as they are; a task encoder of the user's turns them into what a model takes.
DATASET = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
TABLES = """
CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER
);
CREATE TABLE sample_parts (
    tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER, content_byte_size INTEGER
);
"""
INDICES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full
    ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);
"""


def write(source: ExportSource, folder: Path) -> None:
    """The shards with an index beside each, and in ``.nv-meta`` counts, splits, the type of samples and their table."""
    meta = folder / META
    meta.mkdir()
    with closing(sqlite3.connect(meta / "index.sqlite")) as database:
        database.executescript(TABLES)
        counts = {shard.name: _index(shard, number, folder, database) for number, shard in enumerate(source.shards)}
        database.executescript(INDICES)
    # Energon recognises a changed dataset by this name; a random one would differ between equal exports.
    with (meta / "index.sqlite").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    (meta / "index.uuid").write_text(str(uuid.uuid5(uuid.NAMESPACE_OID, digest)))
    info = {"energon_version": ENERGON_VERSION, "shard_counts": counts}
    (meta / ".info.json").write_bytes(orjson.dumps(info, option=orjson.OPT_INDENT_2))
    parts = {split: [shard.name for shard in shards] for split, shards in source.splits.items()}
    for name, content in (("split.yaml", {"split_parts": parts, "exclude": []}), ("dataset.yaml", DATASET)):
        (meta / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _index(shard: ShardFile, number: int, folder: Path, database: sqlite3.Connection) -> int:
    """Place a shard in ``folder``, write where its samples lie, and return how many there are."""
    count = end = 0
    with place(shard, folder).with_suffix(".tar.idx").open("wb") as offsets, database:
        for span in read_spans(shard):
            offsets.write(struct.pack("<Q", span.offset))
            try:
                database.execute(
                    "INSERT INTO samples VALUES (?, ?, ?, ?, ?)", (number, span.key, count, span.offset, span.size)
                )
            except sqlite3.IntegrityError:
                raise InputError(
                    f"{shard.path}: {span.key} is also in an earlier shard; build the shards again"
                ) from None
            database.executemany(
                "INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)",
                [(number, count, part, member.offset, member.size) for part, member in span.members.items()],
            )
            count, end = count + 1, span.offset + span.size
        offsets.write(struct.pack("<Q", end))
    return count
