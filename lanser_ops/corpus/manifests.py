"""Manifests: CSV, TSV, JSONL or Parquet with a ``path`` column, read into Arrow columns."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from lanser_ops import storage
from lanser_ops.common.errors import InputError

# With `bytes`, the store need not be asked for the size of every file.
COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("bytes", pa.int64()),
        ("dialogue", pa.string()),
        ("turn", pa.int64()),
    ]
)


def with_long_strings(schema: pa.Schema) -> pa.Schema:
    """``schema`` with 64-bit offsets in its strings: an array of Arrow's ``string`` ends at 2 GiB, and the paths of
    some 50 million recordings are longer."""
    fields = [pa.field(field.name, pa.large_string()) if field.type == pa.string() else field for field in schema]
    return pa.schema(fields)


def joined(parts: Sequence[pa.Array | pa.ChunkedArray | str], separator: str) -> pa.Array | pa.ChunkedArray:
    """``parts``, strings or arrays of one type, joined element by element."""
    (kind, *_) = (part.type for part in parts if not isinstance(part, str))
    scalars = [pa.scalar(part, kind) if isinstance(part, str) else part for part in (*parts, separator)]
    return pc.binary_join_element_wise(*scalars)


# The readers do not use Arrow's own threads; see `storage.read_table` for the reason.
def _read_csv(stream: BinaryIO, schema: pa.Schema, delimiter: str = ",") -> pa.Table:
    return pa.csv.read_csv(
        stream,
        read_options=pa.csv.ReadOptions(use_threads=False),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=schema,
            null_values=["", "NaN", "nan"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _read_tsv(stream: BinaryIO, schema: pa.Schema) -> pa.Table:
    return _read_csv(stream, schema, delimiter="\t")


def _read_jsonl(stream: BinaryIO, schema: pa.Schema) -> pa.Table:
    return pa.json.read_json(
        stream,
        read_options=pa.json.ReadOptions(use_threads=False),
        parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _read_parquet(stream: BinaryIO, schema: pa.Schema) -> pa.Table:
    file = pq.ParquetFile(stream)
    columns = [name for name in schema.names if name in file.schema_arrow.names]
    return file.read(columns=columns, use_threads=False)


READERS: dict[str, Callable[[BinaryIO, pa.Schema], pa.Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def read_manifest(path: str) -> pa.Table:
    """The manifest as a table of COLUMNS, `with_long_strings`.

    Absent columns are null, but ``turn`` counts the rows where it is absent. Only rows with a ``dialogue`` have a
    ``turn``. Raises InputError if the manifest cannot be read, has no rows or no ``path`` column, or if a row has no
    path, or a dialogue without a turn.
    """
    extension = posixpath.splitext(path)[1].lower().lstrip(".")
    try:
        with storage.open_read(path) as stream:
            table, present = read_columns(stream, extension, COLUMNS, f"--input {path}")
    except OSError as error:
        raise InputError(
            f"--input {path}: not a readable {extension} manifest: {' '.join(str(error).split())}"
        ) from None
    if "path" not in present:
        raise InputError(f"--input {path}: a manifest needs a column 'path' (it has: {', '.join(present)})")
    table = table.cast(with_long_strings(COLUMNS))
    for name in ("start_s", "end_s"):
        index, column = COLUMNS.names.index(name), table.column(name)
        table = table.set_column(index, COLUMNS.field(name), pc.if_else(pc.is_nan(column), None, column))
    missing = pc.index(pc.fill_null(pc.equal(table.column("path"), ""), True), True).as_py()
    if missing >= 0:
        raise InputError(f"--input {path}: row {missing + 1} has no path")
    return _with_turns(table, path)


def read_columns(stream: BinaryIO, extension: str, schema: pa.Schema, where: str) -> tuple[pa.Table, list[str]]:
    """A manifest as a table of ``schema``, absent columns being null, and the names of the columns that have values.

    ``extension`` is a key of READERS. Raises InputError, which ``where`` begins, if it cannot be read or has no rows.
    """
    try:
        table = READERS[extension](stream, schema)
        twice = [name for name, count in Counter(table.column_names).items() if count > 1]
        if twice:
            raise InputError(f"{where}: has the column {twice[0]!r} twice; remove one")
        # The JSONL reader adds every column of its schema, so a column without any value counts as absent.
        present = [name for name in table.column_names if table.column(name).null_count < len(table)]
        if not len(table):
            raise InputError(f"{where}: the manifest has no rows")
        columns = [
            pc.cast(table.column(field.name), field.type) if field.name in present else pa.nulls(len(table), field.type)
            for field in schema
        ]
        rows = pa.table(columns, schema=schema)
        rows.validate(full=True)  # the JSONL reader takes text that is not UTF-8
    except InputError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not a readable {extension} manifest: {reason}") from None
    return rows, present


def _with_turns(table: pa.Table, path: str) -> pa.Table:
    dialogue, turn = table.column("dialogue"), table.column("turn")
    dialogue = pc.if_else(pc.equal(dialogue, ""), None, dialogue)
    in_dialogue = pc.is_valid(dialogue)
    if turn.null_count == len(table):
        turn = pa.array(np.arange(1, len(table) + 1))
    missing = pc.index(pc.and_(in_dialogue, pc.is_null(turn)), True).as_py()
    if missing >= 0:
        raise InputError(f"--input {path}: row {missing + 1} has a dialogue but no turn, which other rows have")
    for name, column in (("dialogue", dialogue), ("turn", pc.if_else(in_dialogue, turn, None))):
        table = table.set_column(COLUMNS.names.index(name), table.schema.field(name), column)
    return table


def resolve_paths(paths: pa.ChunkedArray, home: str) -> pa.Array:
    """Full paths: relative ones are below ``home``, the manifest's folder; ``..`` and ``.`` are resolved.

    URLs of this machine's files (RFC 8089) become paths.
    """
    paths = paths.combine_chunks()
    urls = pc.match_substring_regex(paths, r"^file:/", ignore_case=True)
    if pc.any(urls).as_py():
        local = [_local_path(url) for url in paths.filter(urls).to_pylist()]
        paths = pc.replace_with_mask(paths, urls, pa.array(local, paths.type))
    rooted = pc.or_(pc.starts_with(paths, "/"), pc.match_substring_regex(paths, r"^[a-zA-Z][a-zA-Z0-9+.-]*://"))
    if pc.all(rooted).as_py():
        full = paths
    elif not pc.any(rooted).as_py():  # each column of paths that need not be made counts: they may take gigabytes
        full = joined([home, paths], "/")
    else:
        full = pc.if_else(rooted, paths, joined([home, paths], "/"))
    dotted = pc.match_substring_regex(full, r"(^|/)\.\.?(/|$)|[^:/]//")
    if not pc.any(dotted).as_py():
        return full
    resolved = [_normalize(path) for path in full.filter(dotted).to_pylist()]
    return pc.replace_with_mask(full, dotted, pa.array(resolved, full.type))


def _local_path(url: str) -> str:
    """The path of a ``file:`` URL; one that names another host stays as it is, and its row becomes a reject."""
    host, slash, path = re.sub(r"^file:(//)?", "", url, flags=re.IGNORECASE).partition("/")
    return unquote(slash + path, errors="backslashreplace") if host.lower() in ("", "localhost") else url


def _normalize(path: str) -> str:
    scheme, mark, rest = path.rpartition("://")
    return scheme + mark + posixpath.normpath(rest)


# The top of a machine's tree: names relative to it are local paths, and say whose home a recording lies in.
TOP = ("", "/", "/home", "/Users")
BELOW_TOP = r"^(?P<folder>/(?:home|Users)/[^/]+|/[^/]+)/"


def separate_folders(paths: pa.Array) -> list[tuple[str, pa.Array]]:
    """The folders that names of recordings are relative to, each with a mask (bool) of those of ``paths`` in it.

    That is the deepest folder that contains every path; where it is one of TOP, that of each folder below.
    """
    folder = common_folder(paths)
    if folder not in TOP:
        return [(folder, pa.array(np.ones(len(paths), dtype=bool)))]
    tops = pc.struct_field(pc.extract_regex(paths, BELOW_TOP), "folder")
    tops = pc.fill_null(tops, "")
    masks = [pc.equal(tops, top) for top in sorted(tops.unique().to_pylist())]
    return [(common_folder(paths.filter(mask)), mask) for mask in masks]


def common_folder(paths: pa.Array) -> str:
    """The deepest folder that contains every path: that of the first and the last in sorted order."""
    limits = pc.min_max(paths)
    first, last = limits["min"].as_py().split("/")[:-1], limits["max"].as_py().split("/")[:-1]
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return "/".join(first[:shared]) or ("/" if shared else "")
