"""What is in the shards: one pass over headers and JSON, the audio is not read."""

from __future__ import annotations

import glob
import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.tariterators import base_plus_ext

from training.errors import InputError

SPLITS = ("train", "val")
FIELDS = ("taxonomy", "labels", "label_index", "margin", "entailment")


@dataclass(frozen=True)
class Index:
    """The samples of a set of shards of one taxonomy, in the order of the tars.

    ``entailment`` is float32 (samples, labels); ``label_index`` int64 and ``margin`` float32 are (samples,).
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]
    keys: tuple[str, ...]
    taxonomy: str
    labels: tuple[str, ...]
    entailment: np.ndarray
    label_index: np.ndarray
    margin: np.ndarray


def find_shards(places: Sequence[str], split: str) -> list[str]:
    """The tars of ``split`` ("train" or "val") below folders or among the matches of globs, sorted.

    In a folder only ``<split>-*.tar`` counts. A tar that a glob names and whose name starts with neither
    split is for training. Raises InputError for a place where there is no tar of any split.
    """
    found: set[str] = set()
    for place in places:
        folder = Path(place)
        paths = list(folder.rglob("*.tar")) if folder.is_dir() else [Path(path) for path in glob.glob(place)]
        tars = [path for path in paths if path.suffix == ".tar" and path.is_file()]
        if not tars:
            raise InputError(f"{place}: no shards (.tar) there; give the output of lanser build, or a quoted glob")
        for path in tars:
            named = path.name.split("-")[0]
            if named == split or (split == "train" and named not in SPLITS and not folder.is_dir()):
                found.add(str(path.resolve()))
    return sorted(found)


def read_index(shards: Sequence[str]) -> Index:
    """Index of ``shards``.

    Raises:
        InputError: no shards, a tar that does not read, a sample without audio or with a JSON that is not a
            weak label, a key that comes twice, shards of more than one taxonomy.
    """
    if not shards:
        raise InputError("no training shards; those that lanser build writes are named train-*.tar")
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(_read_shard, shards))
    rows = [row for part in parts for row in part]
    first = rows[0]
    for shard, part in zip(shards, parts, strict=True):
        for row in part:
            if (row["taxonomy"], row["labels"]) != (first["taxonomy"], first["labels"]):
                raise InputError(
                    f"{shard}: taxonomy {row['taxonomy']} with {len(row['labels'])} labels, but {shards[0]} has "
                    f"{first['taxonomy']} with {len(first['labels'])}; give the shards of one taxonomy"
                )
    keys = tuple(row["key"] for row in rows)
    if len(set(keys)) < len(keys):
        twice = Counter(keys).most_common(1)[0][0]
        raise InputError(f"sample {twice} is in the shards more than once; give every shard once")
    return Index(
        shards=tuple(shards),
        counts=tuple(len(part) for part in parts),
        keys=keys,
        taxonomy=first["taxonomy"],
        labels=tuple(first["labels"]),
        entailment=np.array([row["entailment"] for row in rows], np.float32),
        label_index=np.array([row["label_index"] for row in rows], np.int64),
        margin=np.array([row["margin"] for row in rows], np.float32),
    )


def _read_shard(path: str) -> list[dict[str, Any]]:
    """FIELDS and key of every sample of one tar."""
    rows: list[dict[str, Any]] = []
    with_audio: set[str] = set()
    try:
        for key, extension, content in _members(path):
            if extension == "flac":
                with_audio.add(key)
            elif extension == "json":
                rows.append({"key": key, **_weak_label(content, f"{path}: {key}.json")})
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a whole tar ({error}); build the shard again") from None
    silent = [row["key"] for row in rows if row["key"] not in with_audio]
    if silent or not rows or len(with_audio) > len(rows):
        what = f"sample {silent[0]} has no .flac" if silent else "no samples, or some without .json"
        raise InputError(f"{path}: {what}; give shards that lanser build wrote")
    return rows


def _members(path: str) -> Iterator[tuple[str, str, bytes]]:
    """(key, extension, content) of the regular members of a tar; content is read for JSON alone."""
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isreg():
                key, extension = base_plus_ext(member.name)
                content = tar.extractfile(member).read() if extension == "json" else b""
                yield key, extension, content


def _weak_label(content: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(content)
        row = {name: row[name] for name in FIELDS}
        scores = [float(score) for score in row["entailment"]]
        whole = len(scores) == len(row["labels"]) >= 2 and 0 <= row["label_index"] < len(scores)
        whole = whole and all(map(math.isfinite, [*scores, float(row["margin"])])) and min(scores) >= 0
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{where}: not a weak label ({', '.join(FIELDS)}); give shards that lanser build wrote")
    return row
