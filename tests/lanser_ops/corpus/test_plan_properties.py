"""Plans and manifests of any rows: nothing lost, nothing twice, the same in any order."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanser_ops.corpus.manifests import read_manifest
from lanser_ops.corpus.plan import encode_plan, make_plan, read_unit, read_units
from lanser_ops.corpus.sources import ROW_SCHEMA, Sources
from lanser_ops.output.directory import PLAN, OutputDir
from schemas.records import SourceRow, from_table, utterance_key
from schemas.specs import PlanSpec

NAMES = st.sampled_from([f"{name}.wav" for name in "abcdefghijklmnop"])
TIMES = st.one_of(st.none(), st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000))
DIALOGUES = st.one_of(st.none(), st.none(), st.sampled_from(["x", "y", "z"]))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source": NAMES,
            "start_s": TIMES,
            "end_s": TIMES,
            "bytes": st.integers(0, 1 << 40),
            "dialogue": DIALOGUES,
            "text": st.one_of(st.none(), st.text(max_size=5)),
        }
    ),
    min_size=1,
    max_size=12,
)
SPECS = st.builds(
    PlanSpec,
    num_shards=st.one_of(st.none(), st.integers(1, 40)),
    shard_size_mb=st.floats(1e-3, 1e6),
    val_fraction=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)


def sources_of(rows: list[dict]) -> Sources:
    entries = [{"root": 0, "path": row["source"], "turn": row["dialogue"] and 1, **row} for row in rows]
    return Sources(pa.Table.from_pylist(entries, schema=ROW_SCHEMA), ("/in",))


def split_of(plan: pa.Table, units: list) -> dict[str, str]:
    pairs = zip(plan.column("source").to_pylist(), plan.column("unit").to_pylist(), strict=True)
    return {source: units[unit].split for source, unit in pairs}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@settings(derandomize=True, max_examples=50, deadline=None)
@given(rows=ROWS, spec=SPECS, data=st.data())
def test_a_plan_has_every_row_in_one_unit(rows, spec, data, folder: Path):
    sources = sources_of(rows)
    plan, units = make_plan(sources, spec)
    assert sorted(map(repr, plan.drop_columns(["unit"]).to_pylist())) == sorted(map(repr, sources.rows.to_pylist()))
    content = encode_plan(plan, units)
    shuffled = Sources(sources.rows.take(data.draw(st.permutations(range(len(rows))))), sources.roots)
    assert encode_plan(*make_plan(shuffled, spec)) == content
    (folder / PLAN).write_bytes(content)
    out = OutputDir(str(folder))
    assert read_units(out) == units and [unit.index for unit in units] == list(range(len(units)))
    by_unit = [read_unit(out, unit) for unit in units]
    assert [len(part) for part in by_unit] == [unit.sources for unit in units] and all(by_unit)
    assert [row for part in by_unit for row in part] == from_table(plan, SourceRow)
    for group in ("source", "dialogue"):
        units_of: dict[str, set[int]] = {}
        for row in plan.to_pylist():
            units_of.setdefault(row[group], set()).add(row["unit"])
        assert all(len(numbers) == 1 for name, numbers in units_of.items() if name is not None)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(rows=ROWS, more=ROWS)
def test_recordings_keep_their_split_when_the_corpus_grows(rows, more):
    """But for the first and the last in hash order, which see to it that neither split is empty."""
    rows, more = ([{**row, "dialogue": None} for row in part] for part in (rows, more))
    spec = PlanSpec(val_fraction=0.5)
    (small, small_units), (large, large_units) = (make_plan(sources_of(part), spec) for part in (rows, rows + more))
    before, after = split_of(small, small_units), split_of(large, large_units)
    ends = {table.column("source")[index].as_py() for table in (small, large) for index in (0, -1)}
    assert all(after[source] == split for source, split in before.items() if source not in ends)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.tuples(NAMES, TIMES, TIMES), unique=True, max_size=12))
def test_keys_are_those_of_one_stretch(stretches):
    keys = [utterance_key(*stretch) for stretch in stretches]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)


# What CSV takes for null is left out, and the line ends that it normalises.
TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), min_size=1, max_size=8).filter(
    lambda text: text not in ("NaN", "nan")
)
MANIFESTS = st.lists(
    st.fixed_dictionaries(
        {
            "path": TEXTS,
            "start_s": st.one_of(st.none(), st.floats(allow_nan=False)),
            "speaker": st.one_of(st.none(), TEXTS),
            "text": st.one_of(st.none(), TEXTS),
            "bytes": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(rows=MANIFESTS)
def test_a_manifest_is_the_same_in_every_format(rows, folder: Path):
    with (folder / "m.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet")
    tables = [read_manifest(str(folder / name)) for name in ("m.csv", "m.parquet")]
    if all(row["start_s"] is None or math.isfinite(row["start_s"]) for row in rows):  # JSON has no infinity
        (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        tables.append(read_manifest(str(folder / "m.jsonl")))
    for table in tables:
        assert [{name: row[name] for name in rows[0]} for row in table.to_pylist()] == rows
