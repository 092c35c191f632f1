"""Cut sources into work units: in hash order, balanced by bytes, each source file either in train or in val.

The same sources give the same plan, in whatever order they were named. The plan is one Parquet file with a row group
per unit, so a worker reads the rows of its own unit alone.
"""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lanser_ops.corpus.sources import Sources
from lanser_ops.output.directory import PLAN, OutputDir
from schemas.records import SOURCE_SCHEMA, SourceRow, from_table
from schemas.specs import PlanSpec
from schemas.units import Unit

UNITS_KEY = b"lanser.units"
# Enough to share out a corpus that would fit in one shard among a few workers.
MIN_UNITS = 16
HASH_CHUNK_ROWS = 65_536


def make_plan(sources: Sources, spec: PlanSpec) -> tuple[pa.Table, list[Unit]]:
    """Cut ``sources`` into units.

    Returns the plan (SOURCE_SCHEMA, sorted by unit) and the units in order, train before val. A file is in val if the
    hash of its name falls into the last ``val_fraction`` of the hash range, so it stays there when the corpus grows.
    With two files or more and a fraction above 0, at least one file is in val.
    """
    table, hashes = _in_hash_order(sources.rows)
    names = table.column("source").combine_chunks()
    starts = np.flatnonzero(_changes(names))  # the first row of every file
    file_bytes = np.add.reduceat(np.maximum(table.column("bytes").to_numpy(), 1), starts)
    files = len(starts)
    val = hashes[starts] >= np.uint64(min(1.0 - spec.val_fraction, 1.0 - 2**-53) * 2.0**64)
    val &= spec.val_fraction > 0
    if spec.val_fraction > 0 and files > 1:
        val[-1] = True
    if 0 < spec.val_fraction < 1 and files > 1:
        val[0] = False
    units_of_file, splits = _cut(file_bytes, int(np.count_nonzero(~val)), _unit_count(file_bytes, spec))
    rows_of_file = np.diff(np.append(starts, len(table)))
    unit_of_row = np.repeat(units_of_file, rows_of_file).astype(np.int32)
    plan = table.add_column(0, SOURCE_SCHEMA.field("unit"), pa.array(unit_of_row)).cast(SOURCE_SCHEMA)
    rows = np.bincount(unit_of_row, minlength=len(splits))
    sizes = np.bincount(units_of_file, weights=file_bytes, minlength=len(splits))
    units = [Unit(index, len(splits), split, int(rows[index]), int(sizes[index])) for index, split in enumerate(splits)]
    return plan, units


def encode_plan(plan: pa.Table, units: list[Unit]) -> bytes:
    """The plan as a Parquet file with one row group per unit, and the units themselves in its metadata."""
    described = [[unit.split, unit.sources, unit.bytes] for unit in units]
    schema = SOURCE_SCHEMA.with_metadata({UNITS_KEY: json.dumps(described)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        first = 0
        for unit in units:
            writer.write_table(plan.slice(first, unit.sources).cast(schema), row_group_size=unit.sources)
            first += unit.sources
    return sink.getvalue().to_pybytes()


def read_units(out: OutputDir) -> list[Unit]:
    """The units of the plan in ``out``."""
    with out.open_read(PLAN) as stream:
        described = json.loads(pq.ParquetFile(stream).schema_arrow.metadata[UNITS_KEY])
    return [Unit(index, len(described), *fields) for index, fields in enumerate(described)]


def read_unit(out: OutputDir, unit: Unit) -> list[SourceRow]:
    """The source rows of one unit, in plan order."""
    with out.open_read(PLAN) as stream:
        return from_table(pq.ParquetFile(stream).read_row_group(unit.index, use_threads=False), SourceRow)


def _in_hash_order(rows: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The rows sorted by the hash of their file's name, then by their columns; and the hash of every row."""
    source = rows.column("source")
    hashes = np.empty(len(rows), dtype=np.uint64)
    for first in range(0, len(rows), HASH_CHUNK_ROWS):
        chunk = source.slice(first, HASH_CHUNK_ROWS).to_pylist()
        digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in chunk)
        hashes[first : first + len(chunk)] = np.frombuffer(digests, dtype=">u8")
    keyed = rows.append_column("hash", pa.array(hashes))
    order = ["hash", "source", "start_s", "end_s", "text", "speaker", "language"]
    indices = pa.compute.sort_indices(keyed, sort_keys=[(name, "ascending") for name in order])
    keyed = keyed.take(indices).combine_chunks()
    return keyed.drop_columns(["hash"]), keyed.column("hash").to_numpy()


def _changes(names: pa.Array) -> np.ndarray:
    """True where a name differs from the one before it (and at the first)."""
    changed = np.ones(len(names), dtype=bool)
    if len(names) > 1:
        changed[1:] = pa.compute.not_equal(names.slice(1), names.slice(0, len(names) - 1)).to_numpy(
            zero_copy_only=False
        )
    return changed


def _unit_count(file_bytes: np.ndarray, spec: PlanSpec) -> int:
    if spec.num_shards is not None:
        return min(spec.num_shards, len(file_bytes))
    by_size = math.ceil(int(file_bytes.sum()) / (spec.shard_size_mb * 1e6))
    return min(len(file_bytes), max(by_size, MIN_UNITS))


def _cut(file_bytes: np.ndarray, train_files: int, count: int) -> tuple[np.ndarray, list[str]]:
    """Unit of every file, and the split of every unit. Train files come first."""
    val_files = len(file_bytes) - train_files
    if not val_files or not train_files:
        return _balanced(file_bytes, count), ["train" if train_files else "val"] * count
    count = max(count, 2)  # a unit belongs to one split
    share = float(file_bytes[train_files:].sum() / file_bytes.sum())
    val_units = min(max(1, round(count * share)), count - 1, val_files)
    train_units = min(count - val_units, train_files)
    units = np.concatenate(
        [
            _balanced(file_bytes[:train_files], train_units),
            train_units + _balanced(file_bytes[train_files:], val_units),
        ]
    )
    return units, ["train"] * train_units + ["val"] * val_units


def _balanced(file_bytes: np.ndarray, count: int) -> np.ndarray:
    """The run of every file: files, in order, in exactly ``count`` runs of about equal bytes, none of them empty."""
    files = len(file_bytes)
    ends = np.cumsum(file_bytes, dtype=np.float64)
    middles = ends - file_bytes / 2
    firsts = np.searchsorted(middles, ends[-1] * np.arange(count) / count)
    firsts[0] = 0
    index = np.arange(count)
    firsts = np.maximum.accumulate(firsts - index) + index  # at least one file in every earlier run
    firsts = np.minimum(firsts, files - count + index)  # and at least one left for every later run
    return np.searchsorted(firsts, np.arange(files), side="right") - 1
