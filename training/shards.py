"""The samples of a set of shards: one pass over headers and JSON, without reading the audio."""

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

from lanser_ops.common.errors import InputError

SPLITS = ("train", "val")
FIELDS = ("taxonomy", "labels", "label_index", "margin", "entailment")
# Two values of a sample's field ``prior``: what `lanser build --prior` was given.
NO_PRIOR, CORPUS_PRIOR = "none", "corpus"


@dataclass(frozen=True)
class Scoring:
    """How labels were chosen from entailment: options of `lanser build`, and which label is the absence of the others.

    See `lanser_ops.common.label_scores.corrected`.
    """

    prior: str
    prior_strength: float
    neutral_threshold: float = 0.0
    absence: int | None = None
    temperature: float = 1.0

    def __str__(self) -> str:
        absence = f" --neutral-threshold {self.neutral_threshold:g}" if self.absence is not None else ""
        temperature = f" --temperature {self.temperature:g}" if self.temperature != 1 else ""
        return f"--prior {self.prior} --prior-strength {self.prior_strength:g}{absence}{temperature}"


@dataclass(frozen=True)
class Index:
    """The samples of a set of shards of one taxonomy, in the order of the tars.

    ``entailment`` is float32 (samples, labels), never corrected; ``label_index`` int64 and ``margin`` float32 are
    (samples,), and come from it by ``scoring``.
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]
    keys: tuple[str, ...]
    taxonomy: str
    labels: tuple[str, ...]
    scoring: Scoring
    entailment: np.ndarray
    label_index: np.ndarray
    margin: np.ndarray


def find_shards(locations: Sequence[str], split: str) -> list[str]:
    """The tars of ``split`` ("train" or "val") below folders or among the matches of globs, sorted.

    In a folder only ``<split>-*.tar`` counts. A tar that a glob names and whose name starts with neither
    split is for training. Raises InputError for a location without a tar of any split.
    """
    shards: set[str] = set()
    for location in locations:
        folder = Path(location)
        paths = list(folder.rglob("*.tar")) if folder.is_dir() else [Path(path) for path in glob.glob(location)]
        tars = [path for path in paths if path.suffix == ".tar" and path.is_file()]
        if not tars:
            raise InputError(f"{location}: no shards (.tar); give the output of lanser build, or a quoted glob")
        for path in tars:
            prefix = path.name.split("-")[0]
            if prefix == split or (split == "train" and prefix not in SPLITS and not folder.is_dir()):
                shards.add(str(path.resolve()))
    return sorted(shards)


def read_index(shards: Sequence[str]) -> Index:
    """Index of ``shards``.

    Raises:
        InputError: no shards, a tar that cannot be read, a sample without audio or whose JSON is not a weak label, a
            duplicate key, shards of different taxonomies or differently chosen labels.
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
            if row["scoring"] != first["scoring"]:
                raise InputError(
                    f"{shard}: labelled with {row['scoring']}, but {shards[0]} with {first['scoring']}; "
                    "relabel the shards with the same options"
                )
    keys = tuple(row["key"] for row in rows)
    if len(set(keys)) < len(keys):
        duplicate = Counter(keys).most_common(1)[0][0]
        raise InputError(f"sample {duplicate} is in the shards more than once; give every shard once")
    return Index(
        shards=tuple(shards),
        counts=tuple(len(part) for part in parts),
        keys=keys,
        taxonomy=first["taxonomy"],
        labels=tuple(first["labels"]),
        scoring=first["scoring"],
        entailment=np.array([row["entailment"] for row in rows], np.float32),
        label_index=np.array([row["label_index"] for row in rows], np.int64),
        margin=np.array([row["margin"] for row in rows], np.float32),
    )


def _read_shard(path: str) -> list[dict[str, Any]]:
    """FIELDS, scoring and key of every sample of one tar."""
    rows: list[dict[str, Any]] = []
    with_audio: set[str] = set()
    try:
        for key, extension, content in _members(path):
            if extension == "flac":
                with_audio.add(key)
            elif extension == "json":
                rows.append({"key": key, **_weak_label(content, f"{path}: {key}.json")})
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a complete tar ({error}); build the shard again") from None
    silent = [row["key"] for row in rows if row["key"] not in with_audio]
    if silent or not rows or len(with_audio) > len(rows):
        fault = f"sample {silent[0]} has no .flac" if silent else "no samples, or some without .json"
        raise InputError(f"{path}: {fault}; give shards that lanser build wrote")
    return rows


def _members(path: str) -> Iterator[tuple[str, str, bytes]]:
    """(key, extension, content) of the regular members of a tar; only JSON content is read."""
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isreg():
                key, extension = base_plus_ext(member.name)
                stream = tar.extractfile(member) if extension == "json" else None
                yield key, extension, stream.read() if stream else b""


def _weak_label(content: bytes, name: str) -> dict[str, Any]:
    try:
        sample = json.loads(content)
        row = {field: sample[field] for field in FIELDS} | {"scoring": _scoring(sample)}
        scores = [float(score) for score in row["entailment"]]
        valid = len(scores) == len(row["labels"]) >= 2 and 0 <= row["label_index"] < len(scores)
        valid = valid and all(map(math.isfinite, [*scores, float(row["margin"])])) and min(scores) >= 0
        valid = valid and 0 < row["scoring"].temperature < math.inf
    except (ValueError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise InputError(f"{name}: not a weak label ({', '.join(FIELDS)}); give shards that lanser build wrote")
    return row


def _scoring(sample: dict[str, Any]) -> Scoring:
    prior = sample.get("prior", NO_PRIOR)
    # Before schema version 2 there was no strength: all of the prior was subtracted.
    strength = 0.0 if prior == NO_PRIOR else float(sample.get("prior_strength", 1.0))
    hypotheses = sample.get("hypotheses", [])
    absence = hypotheses.index([]) if [] in hypotheses else None
    threshold = float(sample.get("neutral_threshold", 0.0))
    return Scoring(prior, strength, threshold, absence, float(sample.get("temperature", 1.0)))
