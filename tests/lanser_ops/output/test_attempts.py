"""Tries of a unit: which count, which do not, and what becomes of a unit that has used them up."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops.asr.transcribe import transcribe_unit
from lanser_ops.backends import LABELLERS, resolve
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import encode_plan, make_plan, read_units
from lanser_ops.corpus.sources import read_sources
from lanser_ops.output import attempts
from lanser_ops.output.dataset import read_roots
from lanser_ops.output.directory import PLAN, OutputDir
from lanser_ops.shards import write
from schemas.specs import CutSpec, LabelSpec, PlanSpec, ShardSpec
from schemas.taxonomy import load_taxonomy
from schemas.units import Unit

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"
UNIT = Unit(0, 1, "train", 2, 100)
DIES = """
import os, sys
from lanser_ops.output import attempts
from lanser_ops.output.directory import OutputDir
from schemas.units import Unit
with attempts.attempt(OutputDir(sys.argv[1]), Unit(0, 1, "train", 2, 100)):
    os.kill(os.getpid(), 9)
"""


def marks(output: Path) -> int:
    return len(list(output.glob("attempts/part-00000-of-00001.parquet/*")))


def test_a_mark_outlives_its_process_and_goes_with_success(tmp_path: Path):
    for deaths in (1, 2, 3):
        assert not attempts.used_up(OutputDir(str(tmp_path)), UNIT)
        assert subprocess.run([sys.executable, "-c", DIES, tmp_path]).returncode == -9
        assert marks(tmp_path) == deaths
    assert attempts.used_up(OutputDir(str(tmp_path)), UNIT)
    with attempts.attempt(OutputDir(str(tmp_path)), UNIT):
        assert marks(tmp_path) == 4
    assert not (tmp_path / "attempts").exists()


def test_a_mark_counts_for_later_jobs_where_a_worker_was_seen_to_die(tmp_path: Path):
    out = OutputDir(str(tmp_path))
    for seen in (1, 2, 3):
        subprocess.run([sys.executable, "-c", DIES, tmp_path])
        attempts.confirm(out, [UNIT])
        subprocess.run([sys.executable, "-c", DIES, tmp_path])  # and a job that was killed as a whole
        attempts.forget_unconfirmed(out, [UNIT])
        assert marks(tmp_path) == seen
    assert attempts.used_up(out, UNIT)
    attempts.forget(out, UNIT)
    assert not (tmp_path / "attempts").exists()


@pytest.mark.parametrize(("error", "left"), [(OSError, 0), (InputError, 0), (RuntimeError, 1), (MemoryError, 1)])
def test_what_is_no_fault_of_the_unit_does_not_count(tmp_path: Path, error: type[Exception], left: int):
    with pytest.raises(error), attempts.attempt(OutputDir(str(tmp_path)), UNIT):
        raise error
    assert marks(tmp_path) == left


def test_a_unit_with_three_marks_becomes_rejects_and_is_not_begun(tmp_path: Path):
    out = OutputDir(str(tmp_path / "out"))
    sources = read_sources([str(EXAMPLES / "kal")], out.root)
    table, (unit,) = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0.0))
    out.write_bytes(PLAN, encode_plan(table, [unit]))
    for _ in range(3):
        with pytest.raises(MemoryError):
            transcribe_unit(out, unit, sources.roots, OutOfMemory(), CutSpec())
    transcribe_unit(out, unit, sources.roots, OutOfMemory(), CutSpec())
    assert pq.read_table(tmp_path / "out" / "transcripts").num_rows == 0
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert sorted((row["source"], row["stage"], row["reason"]) for row in rejects) == [
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
    unit = read_units(OutputDir(str(output)))[1]
    content = json.loads((output / "dataset.json").read_text())
    spec = LabelSpec(load_taxonomy("ekman"), ("This person feels {}.",), resolve(LABELLERS, "bundled"))
    given = (read_roots(OutputDir(str(output))), spec, ShardSpec(), content["transcribe"]["asr_model"]["id"])

    def lost() -> list[dict]:
        rows = pq.read_table(output / "rejects" / unit.part).to_pylist()
        return [(row["stage"], row["reason"]) for row in rows if row["stage"].startswith("shard")]

    with monkeypatch.context() as patch:
        patch.setattr(write, "spool_flac", out_of_memory)
        for _ in range(3):
            with pytest.raises(MemoryError):
                write.shard_unit(OutputDir(str(output)), unit, *given)
        assert lost() == []
        write.shard_unit(OutputDir(str(output)), unit, *given)
    transcripts = pq.read_table(output / "transcripts" / unit.part).num_rows
    assert transcripts > 1 and lost() == [("shard:ekman", "gave_up")] * transcripts
    assert not tar.exists() and not (output / "attempts").exists()
    write.shard_unit(OutputDir(str(output)), unit, *given)
    assert tar.read_bytes() == whole and lost() == []


def out_of_memory(*_: object) -> list:
    raise MemoryError


class OutOfMemory:
    """A recogniser that cannot work."""

    pool_seconds = 120.0
    recognize = staticmethod(out_of_memory)


def test_ctrl_c_keeps_the_deaths_that_were_seen(tmp_path: Path):
    """A unit that killed two workers is not given three more tries because somebody stopped the job."""
    from pipelines import job

    out = OutputDir(str(tmp_path))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", DIES, tmp_path])
    attempts.confirm(out, [UNIT])
    with pytest.raises(KeyboardInterrupt), job._interrupted(out, [UNIT]):
        with contextlib.suppress(RuntimeError), attempts.attempt(out, UNIT):
            raise RuntimeError("stopped in the middle")
        assert marks(tmp_path) == 3
        raise KeyboardInterrupt
    assert marks(tmp_path) == 2
