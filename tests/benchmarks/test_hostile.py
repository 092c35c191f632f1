"""A small share of what benchmarks/hostile.py does to every file that commands read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import hostile
from benchmarks.hostile_files import pickled

# Every how many of the attacks on a file are made; those that run a job take about a second.
EVERY = {
    "moods.yaml": 1,
    "calibration.yaml": 5,
    "config.yaml": 6,
    "audio/list.csv": 7,
    "labels.parquet": 4,
    "out/dataset.json": 8,
    "out/plan.parquet": 3,
    "out/transcripts": 3,
    "out/labels/ekman": 3,
    "sentences.json": 9,
    "shard": 13,
}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with hostile.workspace() as folder:
        yield folder


@pytest.mark.parametrize("name", EVERY)
def test_commands_end_in_one_line_and_touch_nothing_else(name: str, root: Path):
    verdicts = list(hostile.attack(name, root, mutants=4, seed=7, every=EVERY[name]))
    assert [(title, command, judged) for title, command, judged in verdicts if judged.faults] == []
    assert any(judged.end == "refused" for _, _, judged in verdicts)


def test_hostile_tars_cost_no_recording_beside_them(root: Path):
    judged, reasons = hostile.audio_tars(root, mutants=4, seed=7)
    assert (judged.end, judged.faults) == ("done", ())
    assert reasons["broken_tar"] >= 5 and reasons["no_speech"] > 50


def test_the_canary_would_sing(tmp_path: Path):
    """What is executed, and what is written elsewhere, is seen: else the tests above would prove nothing."""
    canary = tmp_path / "executed"
    pickle.loads(pickled(str(canary)))
    assert canary.exists()
    before = hostile.snapshot(tmp_path, tmp_path / "work")
    (tmp_path / "work" / "out").mkdir(parents=True)
    (tmp_path / "work" / "out" / "shard.tar").write_bytes(b"x")
    assert hostile.snapshot(tmp_path, tmp_path / "work") == before | {("work", "")}
    (tmp_path / "escaped").write_bytes(b"x")
    changes = hostile.snapshot(tmp_path, tmp_path / "work") - before
    assert sorted(name for name, _ in changes) == ["escaped", "work"]
