"""Expand ``--input`` (folders, globs, manifests and tars of audio) to one table of source rows.

The table has the columns of `schemas.records.SOURCE_SCHEMA` except ``unit``, which the plan adds, and strings with
64-bit offsets. A manifest of
millions of rows stays in Arrow columns; nothing here creates a Python object per row.
"""

from __future__ import annotations

import json
import logging
import os
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lanser_ops import storage, tar
from lanser_ops.common.audio_files import AUDIO_EXTENSIONS
from lanser_ops.common.errors import InputError
from lanser_ops.corpus import folders, manifests
from lanser_ops.corpus.folders import printable
from lanser_ops.output.directory import DATASET
from schemas.records import SOURCE_SCHEMA

ROW_SCHEMA = manifests.with_long_strings(SOURCE_SCHEMA.remove(0))
STAT_THREADS = 16
# The largest size of a row: a manifest may state any.
MAX_BYTES = 1 << 40

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """``rows``: a table of ROW_SCHEMA; ``roots``: the folders that ``rows.root`` indexes."""

    rows: pa.Table
    roots: tuple[str, ...]


@dataclass(frozen=True)
class _Listing:
    """Rows of one input below one root. Only a manifest, named here, may list a file more than once."""

    root: str
    rows: pa.Table
    manifest: str | None = None


def read_sources(inputs: list[str], output: str) -> Sources:
    """Expand ``inputs`` (see `--input`) to source rows, without the files below ``output``.

    The result does not depend on the order of ``inputs``. Raises InputError, one line, for an input that does not
    exist, holds no audio, or is a manifest that cannot be read, and for a dialogue that two manifests have.
    """
    listings: list[_Listing] = []
    for name in sorted({storage.absolute(name) for name in inputs}):
        listings.extend(_expand(name, storage.absolute(output)))
    _check_dialogues(listings)
    roots = tuple(sorted({printable(listing.root) for listing in listings}))
    rows = pa.concat_tables(
        listing.rows.set_column(0, ROW_SCHEMA.field("root"), _constant(roots.index(printable(listing.root)), listing))
        for listing in _without_overlap(listings)
    )
    return Sources(_distinct_names(rows, roots), roots)


def _check_dialogues(listings: list[_Listing]) -> None:
    manifest_of: dict[str, str] = {}
    for listing in listings:
        if listing.manifest is not None:
            for dialogue in listing.rows.column("dialogue").drop_null().unique().to_pylist():
                other = manifest_of.setdefault(dialogue, listing.manifest)
                if other != listing.manifest:
                    raise InputError(
                        f"--input {listing.manifest}: the dialogue {dialogue!r} is also in {other}; "
                        "give every dialogue a name of its own"
                    )


def full_paths(rows: pa.Table, roots: tuple[str, ...]) -> pa.Array:
    """The full path of every row's file."""
    prefix = pa.array([storage.join(root, "") if root else "" for root in roots], pa.large_string()).take(
        rows.column("root").combine_chunks()
    )
    return manifests.joined([prefix, rows.column("path").combine_chunks()], "")


def _constant(value: int, listing: _Listing) -> pa.Array:
    return pa.array(np.full(len(listing.rows), value, dtype=np.int32))


def _extension(path: str) -> str:
    return posixpath.splitext(path)[1].lower().lstrip(".")


def _expand(name: str, output: str) -> list[_Listing]:
    files, root = _find_files(name)
    listings = _list_files(_without_earlier_outputs(name, files, root), root, output)
    if any(len(listing.rows) for listing in listings):
        return listings
    if files and all(path.startswith(output + "/") for path in files):
        raise InputError(f"--input {name}: lies below --output {output}, whose files are never read as input")
    place = "this folder" if root == name else "these files"
    raise InputError(f"--input {name}: no audio in {place} (looked for {', '.join(sorted(AUDIO_EXTENSIONS))} and tar)")


def _find_files(name: str) -> tuple[dict[str, int], str]:
    """Sizes by path of the files that ``name`` stands for, and the folder that their names are relative to."""
    if not storage.is_remote(name) and os.path.isdir(name):
        return _files_of_folder(name), name
    size = storage.file_size(name)
    files = {name: size} if size is not None else storage.match_glob(name)
    if files:
        root = posixpath.dirname(name)
        while any(char in root for char in "*?[") and not storage.exists(root):
            root = posixpath.dirname(root)
        return files, root
    if storage.is_remote(name) and storage.list_files(name):
        return _files_of_folder(name), name
    raise InputError(f"--input {name}: no such file or folder, and no file matches it as a pattern")


def _files_of_folder(name: str) -> dict[str, int]:
    if not storage.is_remote(name):
        try:
            return folders.files_below(name, _is_input)
        except OSError as error:
            raise InputError(f"--input {name}: cannot be listed ({error.strerror})") from None
    return {
        path: size
        for path, size in storage.list_files(name).items()
        if _is_input(path) and not any(part.startswith(".") for part in path[len(name) + 1 :].split("/"))
    }


def _is_input(path: str) -> bool:
    return _extension(path) in AUDIO_EXTENSIONS | {"tar"}


def _without_earlier_outputs(name: str, files: dict[str, int], root: str) -> dict[str, int]:
    """``files`` without the shards of outputs of lanser at or below ``root``: they hold the same audio once more."""

    @cache
    def is_output(folder: str) -> bool:
        inside, path = folder == root or folder.startswith(storage.join(root, "")), storage.join(folder, DATASET)
        try:  # whatever its version
            return inside and storage.exists(path) and "schema_version" in json.loads(storage.read_bytes(path))
        except (ValueError, TypeError, RecursionError):  # of another program
            return False

    def is_shard(path: str) -> bool:
        folder, below, _ = path.rpartition("/shards/")
        return bool(below) and _extension(path) == "tar" and is_output(folder)

    rest = {path: size for path, size in files.items() if not is_shard(path)}
    if len(rest) < len(files):
        count = len(files) - len(rest)
        log.warning(
            "--input %s: leaves out %d shards of an earlier output; naming their folder reads them", name, count
        )
    return rest


def _list_files(files: dict[str, int], root: str, output: str) -> list[_Listing]:
    """The rows of ``files`` that are not below ``output``."""
    listings, plain = [], []
    for path, size in sorted(files.items()):
        if path.startswith(output + "/"):
            continue
        if _extension(path) in manifests.READERS:
            listings.extend(_manifest_listings(path))
        elif _extension(path) == "tar":
            listings.append(_Listing(root, _index_tar(path, _below(path, root), size)))
        else:
            plain.append(_file_row(_below(path, root), size))
    if plain:
        listings.append(_Listing(root, pa.Table.from_pylist(plain, schema=ROW_SCHEMA)))
    return listings


def _below(path: str, root: str) -> str:
    return path[len(storage.join(root, "")) :] if root else path


def _file_row(path: str, size: int) -> dict:
    return {"root": 0, "path": printable(path), "source": printable(path), "bytes": size}


def _index_tar(path: str, relative: str, size: int) -> pa.Table:
    """A row for every audio member, and one for the tar itself if it is broken, which becomes a reject."""
    rows = []
    try:
        with storage.open_read(path) as stream:
            for member in tar.read_members(stream):
                if _extension(member.name) in AUDIO_EXTENSIONS:
                    source = printable(f"{relative}/{member.name}")
                    place = {"offset": member.offset, "bytes": member.size}
                    rows.append({"root": 0, "path": printable(relative), "source": source, **place})
    except (tar.BrokenTar, OSError):
        rows.append(_file_row(relative, size))
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def _manifest_listings(path: str) -> list[_Listing]:
    """Rows of a manifest: those below its own folder, and the others below the folders that they share."""
    table = manifests.read_manifest(path)
    home = printable(posixpath.dirname(path))
    table = table.set_column(0, "path", manifests.resolve_paths(table.column("path"), home))
    at_home = pc.starts_with(table.column("path"), home + "/")
    listings = []
    whole = pc.all(at_home).as_py()  # as most manifests are: nothing is copied
    parts = [(home, table if whole else table.filter(at_home))]
    if not whole:
        elsewhere = table.filter(pc.invert(at_home))
        folders_of_paths = manifests.separate_folders(elsewhere.column("path").combine_chunks())
        parts += [(folder, elsewhere.filter(mask)) for folder, mask in folders_of_paths]
    for root, part in parts:
        if len(part):
            paths = part.column("path").combine_chunks()
            relative = pc.utf8_slice_codeunits(paths, len(storage.join(root, "")) if root else 0)
            columns = {name: part.column(name) for name in part.column_names if name in ROW_SCHEMA.names}
            columns |= {"root": pa.nulls(len(part), pa.int32()), "path": relative, "source": relative}
            columns["offset"] = pa.nulls(len(part), pa.int64())
            columns["bytes"] = _sizes(part, paths)
            rows = pa.table([columns[name] for name in ROW_SCHEMA.names], names=ROW_SCHEMA.names)
            listings.append(_Listing(root, rows.cast(ROW_SCHEMA), manifest=path))
    return listings


def _sizes(part: pa.Table, paths: pa.Array) -> pa.Array:
    """Bytes of every row: the manifest's number, else those of the stretch as 16 kHz PCM_16, else the file's."""
    stretch = pc.multiply(pc.subtract(part.column("end_s"), part.column("start_s")), 32000.0)
    # Infinite and absurd times become rejects later; here they must only not outweigh all the other rows.
    stretch = pc.if_else(pc.less_equal(pc.abs(stretch), MAX_BYTES), stretch, pa.scalar(None, pa.float64()))
    sizes = pc.coalesce(part.column("bytes"), pc.cast(stretch, pa.int64(), safe=False))
    known = pc.min_element_wise(pc.max_element_wise(sizes, 0, skip_nulls=False), MAX_BYTES, skip_nulls=False)
    known = known.combine_chunks()
    if not known.null_count:
        return known
    unknown = paths.filter(pc.is_null(known))
    sizes = np.empty(len(unknown), dtype=np.int64)
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        step = 65_536
        for first in range(0, len(unknown), step):
            chunk = unknown.slice(first, step).to_pylist()
            remote = any(map(storage.is_store, chunk))
            sizes[first : first + len(chunk)] = list(pool.map(_size, chunk) if remote else map(_size, chunk))
    return pc.replace_with_mask(known, pc.is_null(known), pa.array(sizes))


def _size(path: str) -> int:
    if storage.is_store(path):
        return storage.file_size(path) or 0
    return folders.regular_size(folders.on_disk(path))


def _without_overlap(listings: list[_Listing]) -> list[_Listing]:
    """Drop files that several inputs name: a manifest's rows win, then the input with the shortest root."""
    if len(listings) == 1:
        return listings
    seen: set[tuple[str, int | None]] = set()
    distinct = []
    for listing in sorted(listings, key=lambda listing: (not listing.manifest, len(listing.root), listing.root)):
        if listing.manifest:
            distinct.append(listing)
            if any(not other.manifest for other in listings):
                paths = full_paths(listing.rows.set_column(0, "root", _constant(0, listing)), (listing.root,))
                seen.update((path, None) for path in paths.unique().to_pylist())
            continue
        offsets = listing.rows.column("offset").to_pylist()
        names = [storage.join(listing.root, path) for path in listing.rows.column("path").to_pylist()]
        places = list(zip(names, offsets, strict=True))
        fresh = [place not in seen for place in places]
        seen.update(places)
        distinct.append(_Listing(listing.root, listing.rows.filter(pa.array(fresh, pa.bool_()))))
    return distinct


def _distinct_names(rows: pa.Table, roots: tuple[str, ...]) -> pa.Table:
    """Prefix relative names that occur below several roots with the name of the root."""
    if len(roots) == 1:
        return rows
    counts = rows.group_by("source").aggregate([("root", "count_distinct")])
    shared = counts.filter(pc.greater(counts.column("root_count_distinct"), 1)).column("source")
    if not len(shared):
        return rows
    prefixes = pa.array(_distinct_suffixes(roots), pa.large_string()).take(rows.column("root").combine_chunks())
    source = rows.column("source").combine_chunks()
    renamed = pc.if_else(pc.is_in(source, shared.combine_chunks()), manifests.joined([prefixes, source], "/"), source)
    return rows.set_column(rows.column_names.index("source"), ROW_SCHEMA.field("source"), renamed)


def _distinct_suffixes(roots: tuple[str, ...]) -> list[str]:
    """The shortest suffixes of the roots, of equally many folders, that differ from each other."""
    parts = [root.split("/") for root in roots]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]).lstrip("/") for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(roots)
