"""What is exported: the shards of one taxonomy of an output directory, and their samples as a stream.

Nothing in a shard is trusted: it may have come from elsewhere, and keys become file names.
"""

from __future__ import annotations

import io
import math
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO

import orjson
import soundfile

from lanser_ops import storage, tar
from lanser_ops.common.errors import InputError, first_line
from lanser_ops.output import files
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.summary import statistics_by_taxonomy
from lanser_ops.shards.read import EXTENSIONS, KEY
from lanser_ops.tar import BLOCK, BrokenTar, Member
from schemas.specs import MAX_JSON_BYTES
from schemas.suggestions import did_you_mean
from schemas.taxonomy import NAME_PATTERN


@dataclass(frozen=True)
class ShardFile:
    """A shard: ``number`` counts those of its split (``train`` or ``val``) from 0."""

    name: str
    path: str
    split: str
    number: int
    bytes: int


@dataclass(frozen=True)
class ExportSource:
    """The shards of ``taxonomy`` in ``out``, in the order of their names; ``content`` is dataset.json."""

    out: OutputDir
    content: dict[str, Any]
    taxonomy: str
    shards: tuple[ShardFile, ...]

    @property
    def splits(self) -> dict[str, list[ShardFile]]:
        """The shards of each split that has any."""
        by_split: dict[str, list[ShardFile]] = {}
        for shard in self.shards:
            by_split.setdefault(shard.split, []).append(shard)
        return by_split


@dataclass(frozen=True)
class Span:
    """The members of a sample by extension, and the stretch of the tar that it takes with their headers."""

    key: str
    members: dict[str, Member]
    offset: int
    size: int


@dataclass(frozen=True)
class ExportSample:
    """A sample: ``flac`` is the audio as it is in the shard, ``frames`` its length in samples at ``rate`` Hz."""

    key: str
    text: str
    label: str
    label_index: int
    score: float
    margin: float
    language: str | None
    speaker: str | None
    entailment: list[float]
    flac: bytes
    frames: int
    rate: int

    @property
    def duration_s(self) -> float:
        return self.frames / self.rate


def open_source(directory: str, taxonomy: str | None) -> ExportSource:
    """The shards of ``taxonomy``, which may be None where there is only one.

    Raises InputError, one line, where ``directory`` is no finished output, lacks the taxonomy, has several and None is
    given, or where its shards are not those that dataset.json records.
    """
    out = OutputDir(storage.absolute(directory))
    content = read_dataset(out)
    names = [name for name, counts in statistics_by_taxonomy(content).items() if counts["samples"]]
    if not names:
        raise InputError(f"{directory}: no finished shards there (dataset.json without samples, or none)")
    if taxonomy is None and len(names) > 1:
        raise InputError(f"{directory}: has shards of {', '.join(names)}; choose one with --taxonomy")
    chosen = taxonomy or names[0]
    if chosen not in names or not NAME_PATTERN.fullmatch(chosen):
        raise InputError(f"--taxonomy {chosen}: {directory} has {', '.join(names)}{did_you_mean(chosen, names)}")
    shards = tuple(_shards(out, chosen, content))
    if not shards:
        raise InputError(f"{out.path(out.shards(chosen))}: has no shards, of which dataset.json counts samples")
    return ExportSource(out, content, chosen, shards)


def _shards(out: OutputDir, taxonomy: str, content: dict[str, Any]) -> Iterator[ShardFile]:
    folder = out.shards(taxonomy)
    sizes = {name: size for name, size in out.names(folder).items() if files.SHARD.fullmatch(name)}
    recorded = {name: record.bytes for name, record in files.records(content).items() if name.startswith(f"{folder}/")}
    changed = [name for name in sizes.keys() | recorded.keys() if sizes.get(name) != recorded.get(name)]
    if recorded and changed:  # an output of an earlier release has no records
        name = out.path(min(changed))
        raise InputError(f"{name}: is not the shard that dataset.json records; lanser verify {out.root} says more")
    numbers = dict.fromkeys(files.SPLITS, 0)
    for name in sorted(sizes):
        base = posixpath.basename(name)
        split = base.partition("-")[0]
        yield ShardFile(base, out.path(name), split, numbers[split], sizes[name])
        numbers[split] += 1


def read_spans(shard: ShardFile) -> Iterator[Span]:
    """Where the samples of a shard lie, without reading their content.

    Raises InputError for a tar that is damaged, and for a member that is not of a sample of lanser.
    """
    with _opened(shard) as stream:
        yield from _spans(shard, tar.read_members(stream))


def read_samples(shard: ShardFile) -> Iterator[ExportSample]:
    """The samples of a shard in its order, one in memory at a time.

    Raises InputError for what `read_spans` refuses, JSON that is not a weak label, and audio that is not FLAC.
    """
    with _opened(shard) as stream:
        for span in _spans(shard, tar.read_members(stream)):
            flac = tar.read_content(stream, span.members["flac"])
            fields = tar.read_content(stream, span.members["json"], MAX_JSON_BYTES)
            yield _sample(shard, span.key, flac, fields)


@contextmanager
def _opened(shard: ShardFile) -> Iterator[BinaryIO]:
    try:
        with storage.open_read(shard.path) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{shard.path}: cannot be read ({first_line(error)})") from None


def _spans(shard: ShardFile, members: Iterator[Member]) -> Iterator[Span]:
    seen: set[str] = set()
    end = 0
    try:
        for key, group in groupby(members, key=lambda member: member.name.partition(".")[0]):
            by_extension = {member.name.partition(".")[2]: member for member in group}
            if not KEY.fullmatch(key) or key in seen or tuple(sorted(by_extension)) != EXTENSIONS:
                raise _fault(shard, f"{key[:40]!a} is not one sample of {', '.join(EXTENSIONS)} under 16 hex digits")
            seen.add(key)
            last = max(by_extension.values(), key=lambda member: member.offset)
            offset, end = end, last.offset + last.size + -last.size % BLOCK
            yield Span(key, by_extension, offset, end - offset)
        if not seen:
            raise _fault(shard, "has no samples")
    except BrokenTar as broken:
        raise _fault(shard, str(broken)) from None


def _sample(shard: ShardFile, key: str, flac: bytes, content: bytes) -> ExportSample:
    try:
        fields = orjson.loads(content)
        labels, index = fields["labels"], fields["label_index"]
        numbers = [fields["score"], fields["margin"], *fields["entailment"]]
        texts = [fields["text"], *labels]
        optional = [fields["language"], fields["speaker"]]
        is_valid = fields["key"] == key and type(index) is int and labels[index] == fields["label"] and index >= 0
        is_valid = is_valid and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        is_valid = is_valid and all(isinstance(text, str) for text in texts)
        is_valid = is_valid and all(text is None or isinstance(text, str) for text in optional)
    except (ValueError, KeyError, TypeError, IndexError):
        is_valid = False
    if not is_valid:
        raise _fault(shard, f"{key}.json is not a weak label of this lanser with a transcript")
    try:
        info = soundfile.info(io.BytesIO(flac))
    except soundfile.LibsndfileError as error:
        raise _fault(shard, f"{key}.flac cannot be read ({error})") from None
    if info.format != "FLAC":
        raise _fault(shard, f"{key}.flac is not FLAC but {info.format}")
    return ExportSample(
        key=key,
        text=fields["text"],
        label=fields["label"],
        label_index=index,
        score=fields["score"],
        margin=fields["margin"],
        language=fields["language"],
        speaker=fields["speaker"],
        entailment=fields["entailment"],
        flac=flac,
        frames=info.frames,
        rate=info.samplerate,
    )


def _fault(shard: ShardFile, reason: str) -> InputError:
    return InputError(f"{shard.path}: {reason}; relabel the shards, or build them again")
