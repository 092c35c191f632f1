"""The samples of a set of shards: one pass over headers and JSON, without decoding the audio."""

from __future__ import annotations

import math
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson

from lanser_ops.common.errors import InputError, first_line, legible
from lanser_ops.common.selection import words_hash
from schemas.specs import MAX_JSON_BYTES, NO_PRIOR
from training.stores import is_remote, list_files, open_read

SPLITS = ("train", "val")
FIELDS = ("taxonomy", "labels", "label_index", "score", "margin", "entailment", "text")
SHARE = re.compile(r"(?P<location>.+):(?P<share>[0-9]+(\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True)
class Source:
    """Where shards lie, and the share of an epoch's samples that is drawn from them; None without a mixture."""

    locations: tuple[str, ...]
    share: float | None


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

    ``entailment`` is float32 (samples, labels), never corrected; ``label_index`` int64, ``score`` and ``margin``
    float32 are (samples,), and come from it by ``scoring``. ``hypotheses`` are the words of each label and
    ``by_hypothesis``, float32 (templates, samples, hypotheses), their scores; None where the shards hold only means
    over templates. ``words`` has the `words_hash` of every transcript, uint64 (samples,); None where shards were
    written with --redact. ``is_grouped`` says that the labels are not those that the shards were labelled with, so that
    they must be chosen again: see `grouped`.
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]
    keys: tuple[str, ...]
    taxonomy: str
    labels: tuple[str, ...]
    scoring: Scoring
    entailment: np.ndarray
    label_index: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    hypotheses: tuple[tuple[str, ...], ...]
    by_hypothesis: np.ndarray | None
    words: np.ndarray | None
    is_grouped: bool = False


def parse_sources(values: Sequence[str]) -> list[Source]:
    """The values of ``--shards``: locations, read as a single corpus, or LOCATION:SHARE for each corpus of a mixture.

    Shares are divided by their sum. A colon in the name of an existing file or folder separates nothing. Raises
    InputError for a share of 0, and where only some of the values have one.

    >>> parse_sources(["gs://a/b", "c"])
    [Source(locations=('gs://a/b', 'c'), share=None)]
    >>> parse_sources(["gs://a/b:3", "c:1"])
    [Source(locations=('gs://a/b',), share=0.75), Source(locations=('c',), share=0.25)]
    """
    matches = [None if Path(value).exists() else SHARE.fullmatch(value) for value in values]
    if not any(matches):
        return [Source(tuple(values), None)]
    for value, match in zip(values, matches, strict=True):
        if match is None or not float(match["share"]):
            raise InputError(f"--shards {value}: in a mixture every corpus needs a share above 0, as in A:0.7 B:0.3")
    shares = {match["location"]: float(match["share"]) for match in matches if match}
    if len(shares) < len(values):
        raise InputError(f"--shards {' '.join(values)}: a corpus comes twice; give its shares together")
    return [Source((location,), share / sum(shares.values())) for location, share in shares.items()]


def find_shards(locations: Sequence[str], split: str) -> list[str]:
    """The tars of ``split`` ("train" or "val") below folders or among the matches of globs, sorted.

    In a folder only ``<split>-*.tar`` counts. A tar that a glob names and whose name starts with neither
    split is for training. Raises InputError for a location without a tar of any split.
    """
    shards: set[str] = set()
    for location in locations:
        paths, is_folder = list_files(location)
        tars = [path for path in paths if path.endswith(".tar")]
        if not tars:
            raise InputError(f"{location}: no shards (.tar); give the output of lanser build, or a quoted glob")
        for path in tars:
            prefix = PurePosixPath(path).name.split("-")[0]
            if prefix == split or (split == "train" and prefix not in SPLITS and not is_folder):
                shards.add(path)
    return sorted(shards)


def read_index(shards: Sequence[str], sidecars: Sequence[str] = ()) -> Index:
    """Index of ``shards``, with the labels that they hold or, where there are any, with those of ``sidecars``.

    Samples of both are joined by key: those without a label in a sidecar are not in the index. Shards in a store are
    read once from beginning to end.

    Raises:
        InputError: no shards, a tar that cannot be read, a sample without audio, with members apart or whose JSON is
            not a weak label, a duplicate key, labels of different taxonomies or differently chosen ones, or sidecars
            with no label for any of the samples.
    """
    if not shards:
        raise InputError("no training shards; those that lanser build writes are named train-*.tar")
    tars = list(sidecars or shards)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(partial(_read_shard, is_sidecar=bool(sidecars)), tars))
        _check_alike(tars, parts)
        if sidecars:
            check_unique([row["key"] for part in parts for row in part])
            label_of = {row["key"]: row for part in parts for row in part}
            audio_keys = pool.map(_audio_keys, shards)
            parts = [[label_of[key] for key in part if key in label_of] for part in audio_keys]
            if not any(parts):
                raise InputError(f"{sidecars[0]}: labels no sample of {shards[0]}; relabel these shards with --sidecar")
            shards = [shard for shard, part in zip(shards, parts, strict=True) if part]
            parts = [part for part in parts if part]
    rows = [row for part in parts for row in part]
    first = rows[0]
    keys = tuple(row["key"] for row in rows)
    check_unique(keys)
    by_hypothesis = np.stack([row["scores"] for row in rows], axis=1)
    texts = [row["text"] for row in rows]
    return Index(
        shards=tuple(shards),
        counts=tuple(len(part) for part in parts),
        keys=keys,
        taxonomy=first["taxonomy"],
        labels=tuple(first["labels"]),
        scoring=first["scoring"],
        entailment=np.array([row["entailment"] for row in rows], np.float32),
        label_index=np.array([row["label_index"] for row in rows], np.int64),
        score=np.array([row["score"] for row in rows], np.float32),
        margin=np.array([row["margin"] for row in rows], np.float32),
        hypotheses=first["hypotheses"],
        by_hypothesis=by_hypothesis if by_hypothesis.shape[2] else None,
        words=None if None in texts else np.array([words_hash(text) for text in texts], np.uint64),
    )


def _check_alike(shards: Sequence[str], parts: Sequence[list[dict[str, Any]]]) -> None:
    """Raise InputError unless all rows have the labels of one taxonomy, chosen in one way."""
    first = parts[0][0]
    for shard, part in zip(shards, parts, strict=True):
        for row in part:
            if (row["taxonomy"], row["labels"]) != (first["taxonomy"], first["labels"]):
                raise InputError(
                    f"{shard}: taxonomy {row['taxonomy']} with {len(row['labels'])} labels, but {shards[0]} has "
                    f"{first['taxonomy']} with {len(first['labels'])}; give the shards of one taxonomy"
                )
            if (row["hypotheses"], row["scores"].shape) != (first["hypotheses"], first["scores"].shape):
                raise InputError(
                    f"{shard}: other hypotheses or templates than {shards[0]} for the labels of {row['taxonomy']}; "
                    "relabel the shards with the same options"
                )
            if row["scoring"] != first["scoring"]:
                raise InputError(
                    f"{shard}: labelled with {row['scoring']}, but {shards[0]} with {first['scoring']}; "
                    "relabel the shards with the same options"
                )


def check_unique(keys: Sequence[str]) -> None:
    """Raise InputError if a key comes twice: a sample is known by its key alone."""
    if len(set(keys)) < len(keys):
        duplicate = Counter(keys).most_common(1)[0][0]
        raise InputError(f"sample {duplicate} is in the shards more than once; give every shard once")


def _read_shard(path: str, is_sidecar: bool) -> list[dict[str, Any]]:
    """FIELDS, scoring, hypotheses, scores by hypothesis, and key of every sample of a tar, which may be a sidecar."""
    rows: list[dict[str, Any]] = []
    keys: set[str] = set()
    with_audio: set[str] = set()
    for key, extension, content in _members_of_samples(path):
        keys.add(key)
        if extension == "flac":
            with_audio.add(key)
        elif extension == "json":
            rows.append({"key": key, **_weak_label(content, f"{path}: {key}.json")})
    lacking = {"flac": set() if is_sidecar else keys - with_audio, "json": keys - {row["key"] for row in rows}}
    for extension, lacking_keys in lacking.items():
        if lacking_keys:
            raise InputError(
                f"{path}: sample {legible(min(lacking_keys))} has no .{extension}; give shards of lanser build"
            )
    if not rows:
        raise InputError(f"{path}: no samples; give shards of lanser build")
    return rows


def _audio_keys(path: str) -> list[str]:
    """The keys of the samples of a tar that have audio, in order."""
    return [key for key, extension, _ in _members_of_samples(path) if extension == "flac"]


def _members_of_samples(path: str) -> Iterator[tuple[str, str, bytes]]:
    """`_members` of a tar whose samples are in one piece each. Raises InputError for any other tar."""
    ended: set[str] = set()
    last = ""
    try:
        for key, extension, content in _members(path):
            if key != last:
                ended.add(last)
                last = key
            if key in ended:
                raise InputError(
                    f"{path}: the members of sample {key} are not next to each other; sort the tar by name"
                )
            yield key, extension, content
    except InputError:
        raise
    # The last four: what tarfile lets through of a damaged header or a damaged compressed tar.
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError, zlib.error) as error:
        raise InputError(f"{path}: not a complete tar ({first_line(error)}); build the shard again") from None


def _members(path: str) -> Iterator[tuple[str, str, bytes]]:
    """(key, extension, content) of the regular members of a tar; only JSON content is read."""
    from webdataset.tariterators import base_plus_ext  # imports torch: not where shards are only looked for

    with open_read(path) as stream, tarfile.open(fileobj=stream, mode="r|*" if is_remote(path) else "r:*") as tar:
        for member in tar:
            key, extension = base_plus_ext(member.name)
            if not member.isreg() or key is None:  # webdataset passes over names without an extension, too
                continue
            is_json = extension == "json" and member.size <= MAX_JSON_BYTES
            content = tar.extractfile(member) if is_json else None
            yield key, extension.lower(), content.read() if content else b""


def _weak_label(content: bytes, name: str) -> dict[str, Any]:
    try:
        sample = orjson.loads(content)
        row = {field: sample[field] for field in FIELDS}
        labels, index, numbers = row["labels"], row["label_index"], [row["score"], row["margin"], *row["entailment"]]
        valid = all(isinstance(text, str) for text in (row["taxonomy"], row["text"] or "", *labels))
        valid = valid and type(index) is int and 0 <= index < len(labels) == len(row["entailment"]) >= 2
        valid = valid and all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers)
        row |= {"scoring": _scoring(sample), "hypotheses": _hypotheses(sample)}
        row["scores"] = _hypothesis_scores(sample, row["hypotheses"])
        valid = valid and 0 < row["scoring"].temperature < math.inf
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        valid = False
    if not valid:
        raise InputError(f"{name}: not a weak label ({', '.join(FIELDS)}); give shards that lanser build wrote")
    return row


def _hypotheses(sample: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The words of each label. In schema version 1 a label had one hypothesis, not a list of them."""
    words = sample.get("hypotheses", sample["labels"])
    return tuple((entry,) if isinstance(entry, str) else tuple(map(str, entry)) for entry in words)


def _hypothesis_scores(sample: dict[str, Any], hypotheses: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """float32 (templates, hypotheses); (0, 0) where the sample holds no more than means over templates."""
    if any(len(words) != 1 for words in hypotheses):
        rows = sample.get("hypothesis_scores")
    else:
        rows = sample.get("template_entailment", [sample["entailment"]])
    if not rows:
        return np.zeros((0, 0), np.float32)
    scores = np.array(rows, np.float32)
    if scores.shape[1:] != (sum(map(len, hypotheses)),) or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError
    return scores


def _scoring(sample: dict[str, Any]) -> Scoring:
    prior = sample.get("prior", NO_PRIOR)
    if not isinstance(prior, str):
        raise TypeError
    # Before schema version 2 there was no strength: all of the prior was subtracted.
    strength = 0.0 if prior == NO_PRIOR else float(sample.get("prior_strength", 1.0))
    hypotheses = sample.get("hypotheses", [])
    absence = hypotheses.index([]) if [] in hypotheses else None
    threshold = float(sample.get("neutral_threshold", 0.0))
    temperature = float(sample.get("temperature", 1.0))
    if not math.isfinite(strength + threshold):
        raise ValueError
    return Scoring(prior, strength, threshold, absence, temperature)
