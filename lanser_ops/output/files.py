"""What dataset.json records of the files of an output directory, and which of them are no longer what was written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, BinaryIO

from lanser_ops import tar
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import OutputDir
from schemas.units import FileRecord

READ_BYTES = 8 << 20
READ_THREADS = 16
# The files of units, and those of the empty premise.
PARQUET = re.compile(r"((transcripts|rejects|(labels|scores|speech)/[^/]+)/part-\d+-of-\d+|scores/[^/]+/null)\.parquet")
SHARD = re.compile(r"shards/[^/]+/(train|val)-\d+-of-\d+\.tar")
PARQUET_MAGIC = b"PAR1"
SPLITS = ("train", "val")
# Records of the shards that this process wrote and has not reported yet, by job and name: a shard is hashed while it is
# written, since reading it again would take as long as copying it.
_written: dict[tuple[str, str], FileRecord] = {}


def is_of_unit(name: str) -> bool:
    """Whether ``name`` is a file of a unit (or of the empty premise) that lanser writes."""
    return bool(PARQUET.fullmatch(name) or SHARD.fullmatch(name))


def remember(out: OutputDir, record: FileRecord) -> None:
    """Keep the record of a shard that this process has just written, for `new_records`."""
    _written[out.job, record.name] = record


def new_records(out: OutputDir, names: Iterable[str], known: Iterable[FileRecord] = ()) -> tuple[FileRecord, ...]:
    """Records of those files among ``names`` that exist and that dataset.json does not record.

    ``known`` are the records of an earlier job; if a file was made again since, it has the same bytes.
    """
    of_name = {record.name: record for record in known}
    unrecorded = [name for name in names if name not in _recorded(out) and out.exists(name)]
    written = {name: _written.pop((out.job, name), None) for name in unrecorded}
    return tuple(written[name] or of_name.get(name) or read_record(out, name) for name in unrecorded)


@lru_cache(maxsize=1)
def _recorded(out: OutputDir) -> Mapping[str, FileRecord]:
    """The records when the job began: a job has its own ``out``, and removes those of files that it changes before."""
    return records(read_dataset(out))


def records(content: dict[str, Any]) -> dict[str, FileRecord]:
    """The records of dataset.json's ``content``, by name."""
    return {name: FileRecord(name, entry["bytes"], entry["sha256"]) for name, entry in content.get("files", {}).items()}


def unchanged(
    out: OutputDir, recorded: Mapping[str, FileRecord], stages: Collection[str], taxonomy: str | None
) -> list[FileRecord]:
    """The records of files that a job of ``stages`` leaves as they are.

    It adds to the rejects of a unit that it transcribes or whose shard it writes.
    """
    existing = out.names()
    changing = set()
    for name in existing:
        part = name.removeprefix("rejects/")
        shard = f"{out.shards(taxonomy or '')}/{{}}{part.removeprefix('part').removesuffix('.parquet')}.tar"
        is_sharded = any(shard.format(split) in existing for split in SPLITS)
        if name != part and (f"transcripts/{part}" not in existing or ("shard" in stages and not is_sharded)):
            changing.add(name)
    return [record for name, record in recorded.items() if name in existing and name not in changing]


def section(files: Iterable[FileRecord]) -> dict[str, dict[str, Any]]:
    """``files`` as dataset.json holds them."""
    return {
        record.name: {"bytes": record.bytes, "sha256": record.sha256}
        for record in sorted(files, key=lambda record: record.name)
    }


def read_record(out: OutputDir, name: str) -> FileRecord:
    """The record of a file as it is now, which is read whole."""
    with out.open_read(name) as stream:
        return stream_record(stream, name)


def stream_record(stream: BinaryIO, name: str, copy: BinaryIO | None = None) -> FileRecord:
    """The record of the rest of ``stream``, which is written to ``copy`` if that is given."""
    size, content_hash = 0, hashlib.sha256()
    while block := stream.read(READ_BYTES):
        size += len(block)
        content_hash.update(block)
        if copy:
            copy.write(block)
    return FileRecord(name, size, content_hash.hexdigest())


def damaged(out: OutputDir, existing: Mapping[str, int], recorded: Mapping[str, FileRecord]) -> dict[str, str]:
    """What is wrong with files of units, by name: ``existing`` are sizes in bytes, by name.

    A recorded file has to have its size. Of the others, which a job that was killed has left, the end is read. A file
    whose size is right and whose content is not is found by `lanser_ops.verification` alone, which reads everything.
    """
    names = sorted(name for name in existing if is_of_unit(name))
    faults = {
        name: f"has {existing[name]} bytes, and {recorded[name].bytes} were written"
        for name in names
        if name in recorded and existing[name] != recorded[name].bytes
    }
    unrecorded = [name for name in names if name not in recorded]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        ends = list(pool.map(lambda name: _has_end(out, name, existing[name]), unrecorded))
    faults |= {name: "is cut off" for name, has_end in zip(unrecorded, ends, strict=True) if not has_end}
    for name in names:
        rejects = name.replace("transcripts/", "rejects/", 1)
        if name.startswith("transcripts/") and rejects not in existing and not out.exists(rejects):
            faults[rejects] = "is missing"
    return faults


def _has_end(out: OutputDir, name: str, size: int) -> bool:
    with out.open_read(name) as stream:
        if SHARD.fullmatch(name):
            return tar.is_whole(stream, size)
        stream.seek(max(0, size - len(PARQUET_MAGIC)))
        return stream.read() == PARQUET_MAGIC
