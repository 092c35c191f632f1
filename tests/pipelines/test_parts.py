"""A job in parts: several at once, one that is killed, whatever needs all units, and the script for SLURM."""

from __future__ import annotations

import glob
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lanser_ops.output import parts
from lanser_ops.output.directory import OutputDir
from schemas.units import FileRecord, Part, Unit, UnitRun

REPOSITORY = Path(__file__).parents[2]
FLAGS = ["--taxonomy", "ekman", "--num-shards", "4", "--val-fraction", "0.2", "--threads", "1"]
CLIPS = ("slt/best_day.wav", "slt/thank_you.flac", "slt/love_you.mp3")
# Stands in for SLURM's: runs the tasks of an array one after the other and says what became of each.
SBATCH = """#!/bin/bash
for script; do [[ -f $script ]] && break; done
range=$(sed -n 's/^#SBATCH --array=//p' "$script")
for id in $(seq "${range%-*}" "${range#*-}"); do
    SLURM_ARRAY_TASK_ID=$id SLURM_CPUS_PER_TASK=1 bash "$script" >"task-$id.log" 2>&1
    echo "$id $?" >>tasks
done
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def run_part(log: Path, argv: list[str]) -> None:
    """The command line in a process of its own, with its output in a file."""
    from lanser_ops import cli

    stream = log.open("w", buffering=1)
    sys.stdout = sys.stderr = stream
    sys.exit(cli.main(argv))


@pytest.fixture(scope="module")
def start():
    """Start a command in a process that has the libraries already; its output goes to ``log``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.transforms", "lanser_ops.asr.whisper_recognizer", "transformers"])

    def run(log: Path, *argv: str | Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=run_part, args=(log, list(map(str, argv))))
        process.start()
        return process

    return run


def temporary_names(output: Path) -> list[str]:
    return [name for name in (".tmp", "attempts", "locks", "parts", "job.lock") if (output / name).exists()]


def accounts(output: Path) -> dict:
    return json.loads((output / "dataset.json").read_text())["taxonomies"]["ekman"]["accounts"]


def test_four_parts_at_once_one_of_them_killed_write_the_bytes_of_one_job(
    start, built: Path, small_corpus: Path, tmp_path: Path, digests
):
    output, logs = tmp_path / "out", [tmp_path / f"{number}.log" for number in range(1, 5)]
    command = ["build", "--input", small_corpus, "--output", output, *FLAGS]
    jobs = [start(log, *command, "--part", f"{number}/4") for number, log in enumerate(logs, 1)]
    wait_for(lambda: glob.glob(f"{output}/attempts/part-00001-of-00004.parquet/*"))
    jobs[1].kill()
    for job in jobs:
        job.join(300)
    assert [job.exitcode for job in jobs] == [0, -signal.SIGKILL, 0, 0], [log.read_text() for log in logs]
    last_lines = [logs[number].read_text().splitlines()[-1] for number in (0, 2, 3)]
    assert any(line.endswith("done; waiting for 1 of 4 parts: 2/4") for line in last_lines), last_lines
    assert not (output / "labels").exists()  # they need the scores of all units
    again = start(logs[1], *command, "--part", "2/4")
    again.join(300)
    assert again.exitcode == 0, logs[1].read_text()
    assert "part 2/4: done, as are all others; what needs all units follows" in logs[1].read_text()
    assert "12 utterances: 10 transcripts, 10 samples, 2 rejects" in logs[1].read_text()
    assert digests(output) == digests(built)
    assert temporary_names(output) == []
    now, before = accounts(output), accounts(built)
    assert now.pop("seconds").keys() == {"transcribe", "score", "label", "shard"}
    assert now.pop("pairs_scored") == 70
    del before["seconds"], before["pairs_scored"]  # of its last run, which another test may have been
    assert now == before


@pytest.fixture
def relabel(built: Path, lanser):
    """Relabel the built corpus, four units, to ``output``; returns what was printed."""

    def run(output: Path, *options: str) -> str:
        done = lanser(
            "relabel", "--shards", built, "--output", output, "--taxonomy", "ekman", "--threads", "1", *options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_what_needs_no_other_unit_is_done_by_each_part(relabel, tmp_path: Path, digests):
    """With the prior of the empty premise, which each part that needs it scores."""
    whole, output, options = tmp_path / "whole", tmp_path / "parts", ("--prior", "null")
    relabel(whole, *options)
    last_line = relabel(output, *options, "--part", "3/3").splitlines()[-1]
    assert last_line == "part 3/3: done; waiting for 2 of 3 parts: 1/3, 2/3"
    assert list(digests(output / "shards")) == ["ekman/train-00002-of-00004.tar"]
    relabel(output, *options, "--part", "1/3")
    shards = {path: path.stat().st_mtime_ns for path in output.rglob("*.tar")}
    assert sorted(path.name[:-13] for path in shards) == ["train-00000", "train-00002", "val-00003"]
    relabel(output, *options, "--part", "2/3")
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert digests(output) == digests(whole)
    assert relabel(output, *options, "--part", "2/3") == "part 2/3: nothing is left to do\n"
    assert temporary_names(output) == []


def test_the_last_part_does_what_needs_all_units(relabel, tmp_path: Path, digests):
    whole, output, options = tmp_path / "whole", tmp_path / "parts", ("--max-repeats", "1", "--balance", "1")
    relabel(whole, *options)
    relabel(output, *options, "--part", "2/2")
    relabel(output, *options, "--part", "1/2")
    assert digests(output) == digests(whole)
    last_line = relabel(output, *options, "--part", "1/2").splitlines()[-1]
    assert last_line == "part 1/2: nothing is left to do"
    assert temporary_names(output) == []


def test_the_command_without_part_does_what_parts_left(relabel, built: Path, tmp_path: Path, digests):
    output = tmp_path / "parts"
    last_line = relabel(output, "--part", "5/5").splitlines()[-1]  # of four units it has none
    assert last_line == "part 5/5: done; waiting for 4 of 5 parts: 1/5, 2/5, 3/5, 4/5"
    relabel(output, "--part", "2/5")
    assert "unpack: skipping 1 of 4 units that are done (1)" in relabel(output)
    assert digests(output / "shards") == digests(built / "shards")
    assert temporary_names(output) == []


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1/0", "1.5/4", "-1/4"])
def test_what_is_no_part_is_refused(lanser, tmp_path: Path, text: str):
    done = lanser("transcribe", "--input", tmp_path, "--output", tmp_path / "out", f"--part={text}")
    assert (done.returncode, done.stderr) == (
        2,
        f"lanser transcribe: argument --part: '{text}' is not a part such as 3/16, from 1/16 to 16/16 "
        "(see lanser transcribe --help)\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--overwrite",), "parts would remove each other's files with --overwrite; leave out one"),
        (("--balance", "2"), "a selection needs the labels of all units at once; leave out --part"),
    ],
)
def test_what_parts_cannot_do_is_refused(lanser, built: Path, options: tuple[str, ...], message: str):
    done = lanser("shard", "--output", built, "--taxonomy", "ekman", "--part", "1/2", *options)
    assert (done.returncode, done.stderr) == (2, f"lanser shard: --part 1/2: {message}\n")


def test_a_part_says_what_it_has_done_for_its_own_job_alone(tmp_path: Path):
    out = OutputDir(str(tmp_path))
    runs = [UnitRun(Unit(index, 3, "train", 1, 10)) for index in range(3)]
    shard = FileRecord("shards/ekman/train-00001-of-00003.tar", 5, "00")
    done = UnitRun(runs[1].unit, seconds=(("score", 1.5),), pairs_scored=7, files=(shard,))
    parts.write_runs(out, Part(2, 2), "job", [done])
    assert parts.with_earlier(out, "job", runs) == [runs[0], done, runs[2]]
    assert parts.with_earlier(out, "another", runs) == runs
    assert parts.missing(out, "job", 2, 3) == [Part(1, 2)]
    assert parts.missing(out, "another", 2, 3) == [Part(1, 2), Part(2, 2)]
    assert parts.missing(out, "job", 3, 3) == [Part(1, 3), Part(2, 3), Part(3, 3)]


def test_the_script_for_slurm_runs_as_it_stands(built: Path, tmp_path: Path, digests):
    """With two tasks, and labels from a file, which need no model."""
    text = (REPOSITORY / "docs" / "clusters.md").read_text()
    (script,) = re.findall(r"```bash [^\n]*\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    (submitted,) = re.findall(r"^(sbatch lanser\.sh)$", text, re.MULTILINE)
    assert "#SBATCH --array=1-16" in script and "parts=16" in script
    script = script.replace("--array=1-16", "--array=1-2").replace("parts=16", "parts=2")
    script = script.replace("--taxonomy ekman", "--taxonomy ekman --labels-from labels.csv --num-shards 3")
    (tmp_path / "lanser.sh").write_text(script)
    (tmp_path / "recordings").mkdir()
    for name in CLIPS:
        shutil.copy(REPOSITORY / "examples" / "audio" / name, tmp_path / "recordings")
    rows = "".join(f"{Path(name).name},joy\n" for name in CLIPS)
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    programs = {"sbatch": SBATCH, "lanser": f'#!/bin/sh\nexec {sys.executable} -m lanser_ops "$@"\n'}
    for name, content in programs.items():
        (bin_folder / name).write_text(content)
        (bin_folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(submitted, shell=True, cwd=tmp_path, env=environment, check=True, timeout=300)
    logs = [(tmp_path / f"task-{number}.log").read_text() for number in (1, 2)]
    assert (tmp_path / "tasks").read_text() == "1 0\n2 0\n", logs
    assert logs[0].splitlines()[-1] == "part 1/2: done; waiting for 1 of 2 parts: 2/2"
    assert "3 utterances: 3 transcripts, 3 samples, 0 rejects" in logs[1]
    assert len(list((tmp_path / "out" / "shards" / "ekman").iterdir())) == 3
