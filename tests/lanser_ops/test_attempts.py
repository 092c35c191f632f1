"""Tries of a unit: which count, which do not, and what becomes of a unit that has used them up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops import models, stages, storage
from lanser_ops.asr.transcribe import CutOptions
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import PLAN_FILE, PlanOptions, Unit, encode_plan, make_plan, read_units
from lanser_ops.corpus.sources import read_sources
from lanser_ops.output import attempts
from lanser_ops.output.directory import LabelSpec, ShardSpec
from schemas.taxonomy import load_taxonomy

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
UNIT = Unit(0, 1, "train", 2, 100)
DIES = """
import os, sys
from lanser_ops.output import attempts
from lanser_ops.corpus.plan import Unit
with attempts.attempt(sys.argv[1], Unit(0, 1, "train", 2, 100)):
    os.kill(os.getpid(), 9)
"""


def marks(output: Path) -> int:
    return len(list(output.glob("attempts/part-00000-of-00001.parquet/*")))


def test_a_mark_outlives_its_process_and_goes_with_success(tmp_path: Path):
    for deaths in (1, 2, 3):
        assert not attempts.used_up(str(tmp_path), UNIT)
        assert subprocess.run([sys.executable, "-c", DIES, tmp_path]).returncode == -9
        assert marks(tmp_path) == deaths
    assert attempts.used_up(str(tmp_path), UNIT)
    with attempts.attempt(str(tmp_path), UNIT):
        assert marks(tmp_path) == 4
    assert not (tmp_path / "attempts").exists()


def test_a_mark_counts_for_later_jobs_where_a_worker_was_seen_to_die(tmp_path: Path):
    output = str(tmp_path)
    for seen in (1, 2, 3):
        subprocess.run([sys.executable, "-c", DIES, tmp_path])
        attempts.confirm(output)
        subprocess.run([sys.executable, "-c", DIES, tmp_path])  # and a job that was killed as a whole
        attempts.forget_interrupted(output)
        assert marks(tmp_path) == seen
    assert attempts.used_up(output, UNIT)
    attempts.forget(output, UNIT)
    assert not (tmp_path / "attempts").exists()


@pytest.mark.parametrize(("error", "left"), [(OSError, 0), (InputError, 0), (RuntimeError, 1), (MemoryError, 1)])
def test_what_is_no_fault_of_the_unit_does_not_count(tmp_path: Path, error: type[Exception], left: int):
    with pytest.raises(error), attempts.attempt(str(tmp_path), UNIT):
        raise error
    assert marks(tmp_path) == left


def test_a_unit_with_three_marks_becomes_rejects_and_is_not_begun(tmp_path: Path):
    output = str(tmp_path / "out")
    sources = read_sources([str(EXAMPLES / "kal")], output)
    table, (unit,) = make_plan(sources, PlanOptions(num_shards=1, val_fraction=0.0))
    storage.write_bytes(output, PLAN_FILE, encode_plan(table, [unit]))
    for _ in range(3):
        with pytest.raises(MemoryError):
            stages.transcribe_unit(output, unit, sources.roots, out_of_memory, CutOptions())
    stages.transcribe_unit(output, unit, sources.roots, out_of_memory, CutOptions())
    assert pq.read_table(tmp_path / "out" / "transcripts").num_rows == 0
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert sorted((one["source"], one["stage"], one["reason"]) for one in rejects) == [
        ("bus_stop.wav", "transcribe", "gave_up"),
        ("hate_this.flac", "transcribe", "gave_up"),
    ]
    assert not (tmp_path / "out" / "attempts").exists()


def test_a_unit_whose_shard_is_never_finished_becomes_rejects_until_another_job(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    tar = output / "shards/ekman/train-00001-of-00004.tar"
    whole = tar.read_bytes()
    tar.unlink()
    unit = read_units(str(output))[1]
    content = json.loads((output / "dataset.json").read_text())
    spec = LabelSpec(
        load_taxonomy("ekman"),
        ("This person feels {}.",),
        models.resolve_nli("bundled"),
        content["taxonomies"]["ekman"]["label"]["against"],
        "none",
    )
    given = (content["plan"]["roots"], spec, ShardSpec(), content["transcribe"]["asr_model"]["id"])

    def lost() -> list[dict]:
        rows = pq.read_table(output / "rejects" / unit.part).to_pylist()
        return [(one["stage"], one["reason"]) for one in rows if one["stage"].startswith("shard")]

    with monkeypatch.context() as patch:
        patch.setattr(shards, "spool_flac", out_of_memory)
        for _ in range(3):
            with pytest.raises(MemoryError):
                stages.shard_unit(str(output), unit, *given)
        assert lost() == []
        stages.shard_unit(str(output), unit, *given)
    transcripts = pq.read_table(output / "transcripts" / unit.part).num_rows
    assert transcripts > 1 and lost() == [("shard:ekman", "gave_up")] * transcripts
    assert not tar.exists() and not (output / "attempts").exists()
    stages.shard_unit(str(output), unit, *given)
    assert tar.read_bytes() == whole and lost() == []


def out_of_memory(*_: object) -> list:
    raise MemoryError
