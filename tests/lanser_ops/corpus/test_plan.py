"""Sources to units: balanced, whole files, train apart from val, the same in any order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import encode_plan, make_plan, read_unit, read_units
from lanser_ops.corpus.sources import ROW_SCHEMA, Sources, read_sources
from lanser_ops.output.directory import PLAN, OutputDir
from schemas.records import SOURCE_SCHEMA
from schemas.specs import PlanSpec


def corpus(sizes: list[int], rows_per_file: int = 1) -> Sources:
    rows = [
        {"root": 0, "path": f"{i}.wav", "source": f"{i}.wav", "bytes": size, "start_s": float(k), "end_s": k + 1.0}
        for i, size in enumerate(sizes)
        for k in range(rows_per_file)
    ]
    return Sources(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), ("/in",))


def test_order_of_sources_does_not_matter():
    sources = corpus(list(range(1, 100)))
    shuffled = Sources(sources.rows.take(np.random.default_rng(0).permutation(99)), sources.roots)
    assert make_plan(sources, PlanSpec()) == make_plan(shuffled, PlanSpec())


def test_units_are_balanced_by_bytes():
    sizes = list(np.random.default_rng(1).integers(10_000, 50_000, 2000))
    _, units = make_plan(corpus(sizes), PlanSpec(num_shards=20, val_fraction=0))
    share = sum(sizes) / 20
    assert len(units) == 20
    assert all(abs(unit.bytes - share) < 0.06 * share for unit in units)


@pytest.mark.parametrize(("files", "num_shards", "count"), [(5, 3, 3), (2, 8, 2), (1, 1, 1), (100, 100, 100)])
def test_num_shards_is_met_up_to_the_number_of_files(files, num_shards, count):
    _, units = make_plan(corpus([7] * files), PlanSpec(num_shards=num_shards, val_fraction=0))
    assert len(units) == count
    assert all(unit.sources > 0 for unit in units)


def test_one_giant_file_does_not_leave_units_empty():
    plan, units = make_plan(corpus([10**9, 1, 1, 1, 1, 1]), PlanSpec(num_shards=4, val_fraction=0))
    assert len(units) == 4
    assert sorted(set(plan.column("unit").to_pylist())) == [0, 1, 2, 3]


def test_small_corpora_get_several_units():
    _, units = make_plan(corpus([1000] * 60), PlanSpec())
    assert len(units) == 16


def test_shard_size():
    _, units = make_plan(corpus([1_000_000] * 1000), PlanSpec(shard_size_mb=50, val_fraction=0))
    assert len(units) == 20


def test_rows_of_a_file_stay_together_and_a_file_is_in_one_split():
    plan, units = make_plan(corpus([100] * 50, rows_per_file=3), PlanSpec(num_shards=10, val_fraction=0.2))
    units_of_file: dict[str, set[int]] = {}
    for row in plan.to_pylist():
        units_of_file.setdefault(row["source"], set()).add(row["unit"])
    assert all(len(unit_indices) == 1 for unit_indices in units_of_file.values())
    assert [unit.split for unit in units] == ["train"] * 9 + ["val"]
    assert sum(unit.sources for unit in units if unit.split == "val") == 21


def test_a_file_stays_in_val_when_the_corpus_grows():
    def val(count: int) -> set[str]:
        plan, units = make_plan(corpus([100] * count), PlanSpec(val_fraction=0.1))
        val_units = {unit.index for unit in units if unit.split == "val"}
        return {row["source"] for row in plan.to_pylist() if row["unit"] in val_units}

    assert len(val(300)) == 25
    assert val(300) < val(600)


def test_val_fraction_is_met_by_a_large_corpus():
    _, units = make_plan(corpus([100] * 5000), PlanSpec(val_fraction=0.2))
    assert sum(unit.sources for unit in units if unit.split == "val") / 5000 == pytest.approx(0.2, abs=0.015)


@pytest.mark.parametrize(("files", "splits"), [(1, ["train"]), (2, ["train", "val"])])
def test_val_with_few_files(files, splits):
    _, units = make_plan(corpus([10] * files), PlanSpec())
    assert [unit.split for unit in units] == splits


def test_a_unit_reads_its_own_rows(tmp_path):
    plan, units = make_plan(corpus([100] * 20), PlanSpec(num_shards=4))
    out = OutputDir(str(tmp_path))
    out.write_bytes(PLAN, encode_plan(plan, units))
    assert read_units(out) == units
    rows = [row for unit in units for row in read_unit(out, unit)]
    assert [row.source for row in rows] == plan.column("source").to_pylist()
    assert [row.unit for row in read_unit(out, units[2])] == [2] * units[2].sources


def dialogues(rows: list[tuple[str, str | None]]) -> Sources:
    """A row for every (recording, dialogue)."""
    columns = [
        {"root": 0, "path": path, "source": path, "bytes": 100, "dialogue": dialogue, "turn": number}
        for number, (path, dialogue) in enumerate(rows)
    ]
    return Sources(pa.Table.from_pylist(columns, schema=ROW_SCHEMA), ("/in",))


def units_by_dialogue(rows: list[tuple[str, str | None]], spec: PlanSpec) -> dict[str, set[int]]:
    units: dict[str, set[int]] = {}
    for row in make_plan(dialogues(rows), spec)[0].to_pylist():
        units.setdefault(row["dialogue"] or row["source"], set()).add(row["unit"])
    return units


def test_a_dialogue_is_in_one_unit_and_split():
    rows = [(f"{turn}-{dialogue}.wav", f"d{dialogue}") for turn in range(5) for dialogue in range(40)]
    units = units_by_dialogue(rows, PlanSpec(num_shards=8, val_fraction=0.2))
    assert all(len(indices) == 1 for indices in units.values()) and len(units) == 40
    assert {index for indices in units.values() for index in indices} == set(range(8))


def test_dialogues_that_share_a_recording_are_in_one_unit():
    chain = [(f"{number + shift:02d}.wav", f"d{number}") for number in range(30) for shift in (0, 1)]
    others = [(f"alone{number}.wav", None) for number in range(30)]
    units = units_by_dialogue([*others, *chain, ("00.wav", None)], PlanSpec(num_shards=10, val_fraction=0))
    assert len(set().union(*(units[f"d{number}"] for number in range(30)))) == 1
    assert len(set().union(*(units[path] for path, _ in others))) > 3


def test_a_dialogue_stays_in_val_when_the_corpus_grows():
    def val(count: int) -> set[str]:
        rows = [
            (f"{turn}-{dialogue}.wav", f"d{dialogue}") for dialogue in range(count) for turn in range(1 + count // 100)
        ]
        plan, units = make_plan(dialogues(rows), PlanSpec(val_fraction=0.1))
        val_units = {unit.index for unit in units if unit.split == "val"}
        return {row["dialogue"] for row in plan.to_pylist() if row["unit"] in val_units}

    assert len(val(100)) == 12
    assert val(100) < val(200)


def test_the_order_of_dialogues_does_not_matter():
    sources = dialogues([(f"{number % 7}.wav", f"d{number % 5}" if number % 3 else None) for number in range(60)])
    shuffled = Sources(sources.rows.take(np.random.default_rng(0).permutation(60)), sources.roots)
    assert make_plan(sources, PlanSpec()) == make_plan(shuffled, PlanSpec())


def test_a_unit_reads_its_dialogues(tmp_path):
    out = OutputDir(str(tmp_path))
    sources = dialogues([("a.wav", "x"), ("b.wav", "x"), ("c.wav", None)])
    plan, units = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    out.write_bytes(PLAN, encode_plan(plan, units))
    rows = {row.source: (row.dialogue, row.turn) for row in read_unit(out, units[0])}
    assert rows == {"a.wav": ("x", 0), "b.wav": ("x", 1), "c.wav": (None, 2)}
    plan, units = make_plan(corpus([1, 2]), PlanSpec(num_shards=1, val_fraction=0))
    out.write_bytes(PLAN, encode_plan(plan, units))
    with out.open_read(PLAN) as stream:
        assert pq.read_schema(stream).names[-1] == "text"


def test_a_plan_that_is_gone_is_one_line(tmp_path):
    out = OutputDir(str(tmp_path))
    with pytest.raises(InputError) as error:
        read_units(out)
    assert str(error.value) == f"{tmp_path}/plan.parquet: is missing; run lanser transcribe or lanser build again"


def test_texts_have_64_bit_offsets_until_they_are_written(tmp_path: Path):
    """An array of Arrow's ``string`` ends at 2 GiB: every step of planning has to keep the longer offsets."""
    manifest = tmp_path / "list.csv"
    rows = ["a/../x.wav,one,d1,0,1", "file:///y.wav,two,d1,,", "z.wav,,,,", "/elsewhere/z.wav,,,,"]
    manifest.write_text("path,text,dialogue,start_s,end_s\n" + "\n".join(rows))
    other = tmp_path / "b" / "list.csv"
    other.parent.mkdir()
    other.write_text("path\nz.wav\n")
    sources = read_sources([str(manifest), str(other)], str(tmp_path / "out"))
    plan, units = make_plan(sources, PlanSpec(num_shards=2))
    texts = {field.name for field in SOURCE_SCHEMA if field.type == pa.string()}
    for table in (sources.rows, plan):
        assert {field.name for field in table.schema if field.type == pa.large_string()} == texts
    written = pq.read_table(io.BytesIO(encode_plan(plan, units)))
    assert written.schema.remove_metadata() == SOURCE_SCHEMA
    assert sorted(written.column("source").to_pylist()) == sorted(plan.column("source").to_pylist())
