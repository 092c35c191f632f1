"""Cut sources into work units: in hash order, balanced by bytes, each recording either in train or in val.

Recordings with rows of one dialogue stay together: they form one group, and any other recording is a group of its own.
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

from lanser_ops.common.errors import InputError, first_line
from lanser_ops.corpus.manifests import joined
from lanser_ops.corpus.sources import ROW_SCHEMA, Sources
from lanser_ops.output.directory import PLAN, OutputDir
from schemas.records import SOURCE_SCHEMA, SourceRow, from_table, without_empty
from schemas.specs import PlanSpec
from schemas.tables import PLAN_FORM, table_fault
from schemas.units import Unit

UNITS_KEY = b"lanser.units"
REMAKE = "run lanser transcribe or lanser build again"
# Enough to share out a corpus that would fit in one shard among a few workers.
MIN_UNITS = 16
HASH_CHUNK_ROWS = 65_536


def make_plan(sources: Sources, spec: PlanSpec) -> tuple[pa.Table, list[Unit]]:
    """Cut ``sources`` into units.

    Returns the plan (SOURCE_SCHEMA with the long strings of ``sources``, sorted by unit) and the units in order, train
    before val. A group is in val if the hash of its name falls into the last ``val_fraction`` of the hash range, so it
    stays there when the corpus grows. With two groups or more and a fraction above 0, at least one is in val.
    """
    table, names, hashes = _in_hash_order(sources.rows)
    starts = np.flatnonzero(_changes(names))  # the first row of every group
    group_bytes = np.add.reduceat(np.maximum(table.column("bytes").to_numpy(), 1), starts)
    groups = len(starts)
    val = hashes[starts] >= np.uint64(min(1.0 - spec.val_fraction, 1.0 - 2**-53) * 2.0**64)
    val &= spec.val_fraction > 0
    if spec.val_fraction > 0 and groups > 1:
        val[-1] = True
    if 0 < spec.val_fraction < 1 and groups > 1:
        val[0] = False
    units_of_group, splits = _cut(group_bytes, int(np.count_nonzero(~val)), _unit_count(group_bytes, spec))
    rows_of_group = np.diff(np.append(starts, len(table)))
    unit_of_row = np.repeat(units_of_group, rows_of_group).astype(np.int32)
    plan = table.add_column(0, SOURCE_SCHEMA.field("unit"), pa.array(unit_of_row))
    rows = np.bincount(unit_of_row, minlength=len(splits))
    sizes = np.bincount(units_of_group, weights=group_bytes, minlength=len(splits))
    units = [Unit(index, len(splits), split, int(rows[index]), int(sizes[index])) for index, split in enumerate(splits)]
    return plan, units


def encode_plan(plan: pa.Table, units: list[Unit]) -> bytes:
    """The plan as a Parquet file with one row group per unit, and the units themselves in its metadata.

    The file has the strings of SOURCE_SCHEMA: those of one unit are far from 2 GiB.
    """
    described = [[unit.split, unit.sources, unit.bytes] for unit in units]
    plan = without_empty(plan)
    schema = pa.schema([SOURCE_SCHEMA.field(name) for name in plan.column_names], {UNITS_KEY: json.dumps(described)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        first = 0
        for unit in units:
            writer.write_table(plan.slice(first, unit.sources).cast(schema), row_group_size=unit.sources)
            first += unit.sources
    return sink.getvalue().to_pybytes()


def read_units(out: OutputDir) -> list[Unit]:
    """The units of the plan in ``out``. Raises InputError for a plan that is damaged or missing."""
    try:
        with out.open_read(PLAN) as stream:
            file = pq.ParquetFile(stream)
            described = json.loads(file.schema_arrow.metadata[UNITS_KEY])
        units = [Unit(index, len(described), *fields) for index, fields in enumerate(described)]
        rows = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
    except (pa.ArrowException, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise _damaged(out, error) from None
    if rows != [unit.sources for unit in units] or not {unit.split for unit in units} <= {"train", "val"}:
        raise InputError(f"{out.path(PLAN)}: its units are not those of its rows; {REMAKE}")
    return units


def read_unit(out: OutputDir, unit: Unit) -> list[SourceRow]:
    """The source rows of one unit, in plan order. Raises InputError for a plan that is damaged or missing."""
    try:
        with out.open_read(PLAN) as stream:
            table = pq.ParquetFile(stream).read_row_group(unit.index, use_threads=False)
    except (pa.ArrowException, IndexError, ValueError, OSError) as error:
        raise _damaged(out, error) from None
    if fault := table_fault(table, PLAN_FORM):
        raise InputError(f"{out.path(PLAN)}: {fault}; {REMAKE}")
    return from_table(table, SourceRow)


def _damaged(out: OutputDir, error: Exception) -> Exception:
    """What to raise for an ``error`` in reading the plan: itself, where it is of the disk or the store."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{out.path(PLAN)}: is missing; {REMAKE}")
    if getattr(error, "errno", None) is not None:
        return error
    return InputError(f"{out.path(PLAN)}: is damaged ({first_line(error)[:80]}); {REMAKE}")


def _in_hash_order(rows: pa.Table) -> tuple[pa.Table, pa.Array, np.ndarray]:
    """The rows sorted by the hash of their group's name, then by their columns; that name and hash of every row."""
    group = "source"
    if rows.column("dialogue").null_count < len(rows):
        group, rows = "group", rows.append_column("group", _group_names(rows))
    hashes = np.empty(len(rows), dtype=np.uint64)
    for first in range(0, len(rows), HASH_CHUNK_ROWS):
        chunk = rows.column(group).slice(first, HASH_CHUNK_ROWS).to_pylist()
        digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in chunk)
        hashes[first : first + len(chunk)] = np.frombuffer(digests, dtype=">u8")
    keyed = rows.append_column("hash", pa.array(hashes))
    order = ["hash", group, "source", "start_s", "end_s", "text", "speaker", "language", "dialogue", "turn"]
    indices = pa.compute.sort_indices(keyed, sort_keys=[(name, "ascending") for name in dict.fromkeys(order)])
    keyed = keyed.take(indices).combine_chunks()
    table = keyed.select(ROW_SCHEMA.names)
    return table, keyed.column(group).combine_chunks(), keyed.column("hash").to_numpy()


def _group_names(rows: pa.Table) -> pa.ChunkedArray:
    """The name of every row's group: that of its recording, or the first of the dialogues that hold it together.

    Dialogues that share a recording are in one group, found by passing the lowest index of a dialogue to the recordings
    of that dialogue and on to their other dialogues, until no index changes.
    """
    source = rows.column("source")
    dialogues = rows.column("dialogue").drop_null().unique().sort()
    recordings = source.unique()
    recording_of_row = pa.compute.index_in(source, recordings).to_numpy()
    dialogue_of_row = pa.compute.fill_null(pa.compute.index_in(rows.column("dialogue"), dialogues), -1).to_numpy()
    in_dialogue = dialogue_of_row >= 0
    recording, dialogue = recording_of_row[in_dialogue], dialogue_of_row[in_dialogue]
    lowest = np.arange(len(dialogues))
    while True:
        of_recording = np.full(len(recordings), len(dialogues))
        np.minimum.at(of_recording, recording, lowest[dialogue])
        lower = lowest.copy()
        np.minimum.at(lower, dialogue, of_recording[recording])
        lower = lower[lower]  # twice the way in one round
        if np.array_equal(lower, lowest):
            break
        lowest = lower
    group = of_recording[recording_of_row]
    name = dialogues.take(pa.array(np.minimum(group, len(dialogues) - 1)))
    # No path has a NUL, so that no recording has the name of a dialogue.
    name = joined(["dialogue", name], "\0")
    return pa.chunked_array([pa.compute.if_else(group < len(dialogues), name, source.combine_chunks())])


def _changes(names: pa.Array) -> np.ndarray:
    """True where a name differs from the one before it (and at the first)."""
    changed = np.ones(len(names), dtype=bool)
    if len(names) > 1:
        changed[1:] = pa.compute.not_equal(names.slice(1), names.slice(0, len(names) - 1)).to_numpy(
            zero_copy_only=False
        )
    return changed


def _unit_count(group_bytes: np.ndarray, spec: PlanSpec) -> int:
    if spec.num_shards is not None:
        return min(spec.num_shards, len(group_bytes))
    by_size = math.ceil(int(group_bytes.sum()) / (spec.shard_size_mb * 1e6))
    return min(len(group_bytes), max(by_size, MIN_UNITS))


def _cut(group_bytes: np.ndarray, train_groups: int, count: int) -> tuple[np.ndarray, list[str]]:
    """Unit of every group, and the split of every unit. Train groups come first."""
    val_groups = len(group_bytes) - train_groups
    if not val_groups or not train_groups:
        return _balanced(group_bytes, count), ["train" if train_groups else "val"] * count
    count = max(count, 2)  # a unit belongs to one split
    share = float(group_bytes[train_groups:].sum() / group_bytes.sum())
    val_units = min(max(1, round(count * share)), count - 1, val_groups)
    train_units = min(count - val_units, train_groups)
    units = np.concatenate(
        [
            _balanced(group_bytes[:train_groups], train_units),
            train_units + _balanced(group_bytes[train_groups:], val_units),
        ]
    )
    return units, ["train"] * train_units + ["val"] * val_units


def _balanced(group_bytes: np.ndarray, count: int) -> np.ndarray:
    """The run of every group: groups, in order, in exactly ``count`` runs of about equal bytes, none of them empty."""
    groups = len(group_bytes)
    ends = np.cumsum(group_bytes, dtype=np.float64)
    middles = ends - group_bytes / 2
    firsts = np.searchsorted(middles, ends[-1] * np.arange(count) / count)
    firsts[0] = 0
    index = np.arange(count)
    firsts = np.maximum.accumulate(firsts - index) + index  # at least one group in every earlier run
    firsts = np.minimum(firsts, groups - count + index)  # and at least one left for every later run
    return np.searchsorted(firsts, np.arange(groups), side="right") - 1
