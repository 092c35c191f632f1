"""A wids index for every split: which shards there are and how many samples each has, for access by number.

The shards stay where they are. Format: https://github.com/webdataset/webdataset/blob/v0.2.111/wids/wids_specs.py
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.exports.source import ExportSource, ShardFile, read_spans

# wids takes a path for a URL, in which these end the path.
SEPARATORS = "#?;"


def write(source: ExportSource, folder: Path) -> None:
    """``train.json`` and ``val.json``, as far as there are such shards."""
    for split, shards in source.splits.items():
        entries = [
            {"url": _url(shard, folder), "nsamples": sum(1 for _ in read_spans(shard)), "filesize": shard.bytes}
            for shard in shards
        ]
        index = {"wids_version": 1, "name": f"{source.taxonomy}-{split}", "shardlist": entries}
        (folder / f"{split}.json").write_bytes(
            orjson.dumps(index, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


def _url(shard: ShardFile, folder: Path) -> str:
    """The address of a shard, of a local one its path relative to the index."""
    if storage.is_remote(shard.path):
        return shard.path
    url = os.path.relpath(Path(shard.path).resolve(), folder)
    if any(separator in url for separator in SEPARATORS):
        raise InputError(f"{shard.path}: wids cannot read a path with one of {SEPARATORS}; rename the folder")
    return url
