"""--dry-run: what is left, what it takes by a trial on a sample, and nothing written to the output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.estimate import Machines, Work, different, estimate, requests
from pipelines.estimate_options import DryRun
from pipelines.trial import Trial

MEASURED = DryRun(None, None, None)
TRIAL = Trial(
    pieces=10,
    whole=10,
    audio_s=40.0,
    transcripts=8,
    texts=6,
    single=4,
    scored=6,
    pairs=42,
    seconds={"transcribe": 2.0, "score": 0.5, "label": 0.1, "shard": 0.4},
    loading_s={"transcribe": 3.0, "score": 1.0},
    sizes={"transcripts": 1_000, "rejects": 100, "scores": 500, "labels": 700, "shards": 800_000},
)
WORK = Work(
    pieces=[100.0, 100.0, 50.0],
    recordings=[100, 100, 50],
    missing=[1.0, 0.5, 1.0],
    left={"transcribe": [2], "score": [1, 2], "label": [0, 1, 2], "shard": [0, 1, 2]},
)


def test_the_arithmetic_of_an_estimate():
    result = estimate(WORK, TRIAL, Machines(1, 2, cores=2), MEASURED, (False, False), launch_s=5.0)
    # 100 pieces have 80 transcripts: 6 texts, and half of the other 72; 50 have 40: 6 and half of 32.
    assert (different(TRIAL, 80), different(TRIAL, 40), different(TRIAL, 4)) == (42, 22, 3)
    assert result.pairs == (42 * 0.5 + 22) * 7
    assert result.audio_s == 200
    assert result.seconds == pytest.approx({"transcribe": 10, "score": 301 / 84, "label": 2.5, "shard": 10})
    assert result.wall_s == pytest.approx(5 + 4 + 22.5 + 301 / 84)
    assert result.machine_hours == pytest.approx(result.wall_s / 3600)
    assert result.sizes == {
        "transcripts": 5_000, "rejects": 500, "scores": 7_500, "labels": 17_500, "shards": 20_000_000,
    }  # fmt: skip
    assert result.requests == (0, 0)
    # The audio of one unit for its transcripts, and that of all three for their shards.
    assert requests(WORK, (True, False)) == (50 + 250, 0)
    assert requests(WORK, (True, True)) == (300 + 3 * 57 + 54, 3 * 31 + 40)


def test_workers_get_whole_units_and_share_the_cores():
    def wall_s(workers: int, threads: int, cores: int | None) -> float:
        return estimate(WORK, TRIAL, Machines(workers, threads, cores), MEASURED, (False, False), 0.0).wall_s - 4

    alone = wall_s(1, 1, 2)
    assert wall_s(2, 1, 2) == pytest.approx(alone * 2 / 3)
    assert wall_s(8, 1, 8) == pytest.approx(alone / 3)
    assert wall_s(2, 2, 2) == pytest.approx(alone * 2 / 3 * 2)
    elsewhere = estimate(WORK, TRIAL, Machines(3, 1, None), MEASURED, (False, False), 0.0)
    assert elsewhere.machine_hours == pytest.approx(3 * elsewhere.wall_s / 3600)


def test_rates_that_are_given_take_the_place_of_models():
    trial = Trial(**{**vars(TRIAL), "seconds": {**TRIAL.seconds, "transcribe": 0.1, "score": 0.0}})
    result = estimate(WORK, trial, Machines(1, 1, 1), DryRun(100.0, 50.0, None), (False, False), 0.0)
    assert result.seconds["transcribe"] == pytest.approx(0.1 * 5 + 200 / 100)
    assert result.seconds["score"] == pytest.approx(301 / 50)


def test_nothing_left_takes_nothing():
    work = Work([1.0], [1], [0.0], {"transcribe": [], "score": [], "label": [], "shard": []})
    result = estimate(work, TRIAL, Machines(1, 1, 1), MEASURED, (True, True), 0.0)
    assert (work.units, result.pairs, sum(result.seconds.values()), sum(result.sizes.values())) == (0, 0, 0, 0)


def numbers(pattern: str, text: str) -> tuple[float, ...]:
    match = re.search(pattern, text)
    assert match, text
    return tuple(float(group.replace(",", "")) for group in match.groups())


def test_a_build_is_estimated_and_nothing_is_written(lanser, small_corpus: Path, tmp_path: Path):
    given = ("--input", small_corpus, "--output", tmp_path / "out", "--taxonomy", "ekman", "--threads", 1)
    done = lanser("build", *given, "--num-shards", 4, "--dry-run", "--hourly-price", 3600)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "out").exists()
    assert "4 units, 12 recordings, 0.01 h of audio (headers of 12 recordings)" in done.stdout
    assert numbers(r"trial: (\d+) clips", done.stdout) == (12,)
    assert numbers(r"left to do: ([\d.]+) h to transcribe, (\d+) pairs", done.stdout) == (0.01, 70)
    assert " with 1 worker of 1 threads, on this machine" in done.stdout
    assert numbers(r"cost: about ([\d.]+) ", done.stdout)[0] > 1
    (megabytes,) = numbers(r"shards ([\d.]+) MB", done.stdout)
    assert megabytes == pytest.approx(0.7, rel=0.3)


def test_rates_load_no_model(lanser, small_corpus: Path, tmp_path: Path, no_models):
    given = ("--input", small_corpus, "--output", tmp_path / "out", "--taxonomy", "ekman", "--threads", 1)
    done = lanser("build", *given, "--num-shards", 4, "--dry-run", "--asr-rate", 2, "--pair-rate", 10)
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(r", (\d+) pairs", done.stdout) == (70,)
    assert numbers(r"score ([\d.]+) s, label", done.stdout.split("all workers")[1]) >= (7,)
    warned = lanser("build", *given, "--asr-rate", 2, "--num-shards", 0)
    assert "--asr-rate" not in warned.stderr  # the mistake comes first


def test_what_is_done_is_left_out(lanser, small_corpus: Path, built: Path, digests, no_models):
    before = digests(built)
    given = ("--input", small_corpus, "--output", built, "--num-shards", 4, "--val-fraction", 0.2, "--threads", 1)
    rates = ("--dry-run", "--asr-rate", 2, "--pair-rate", 10)
    done = lanser("build", *given, "--taxonomy", "ekman", *rates)
    assert "nothing is left to do" in done.stdout
    assert "transcribe: skipping 4 of 4 units" in done.stdout
    other = lanser("build", *given, "--taxonomy", "goemotions", *rates)
    assert numbers(r"left to do: ([\d.]+) h", other.stdout) == (0,)
    refused = lanser("build", *given, "--taxonomy", "ekman", "--min-duration", 1, *rates)
    assert (refused.returncode, "made with other options" in refused.stderr) == (2, True)
    again = lanser("build", *given, "--taxonomy", "ekman", "--min-duration", 1, "--overwrite", *rates)
    assert "skipping" not in again.stdout
    assert digests(built) == before


def test_a_relabelling_is_estimated(lanser, built: Path, tmp_path: Path):
    given = ("--shards", built, "--output", tmp_path / "out", "--threads", 1, "--dry-run")
    done = lanser("relabel", *given, "--taxonomy", "plutchik")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "out").exists()
    assert numbers(r"(\d+) shards", done.stdout) == (4,)
    same = lanser("relabel", *given, "--taxonomy", "ekman")
    assert numbers(r", (\d+) pairs", same.stdout) == (0,)
