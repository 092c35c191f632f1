"""Files that are damaged after they were finished, and options that nobody knows any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FLAGS = ["--num-shards", "4", "--val-fraction", "0.2", "--threads", "1"]
PART = "part-00001-of-00004.parquet"
TRAIN = "shards/ekman/train-00001-of-00004.tar"


@pytest.fixture
def output(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def build(small_corpus: Path, output: Path, lanser) -> Callable:
    return lambda *more: lanser(
        "build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman", *FLAGS, *more
    )


def cut(path: Path) -> int:
    """Cut a file to half; its size before."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size // 2)
    return size


def forget_files(output: Path) -> None:
    """Leave dataset.json as a build that was killed leaves it: without records of what it has finished."""
    content = json.loads((output / "dataset.json").read_text())
    del content["files"]
    (output / "dataset.json").write_text(json.dumps(content))


def test_a_shard_that_was_cut_is_made_again(output: Path, built: Path, build, digests):
    size = cut(output / TRAIN)
    done = build("--verify")
    assert done.returncode == 0, done.stderr
    assert f"{TRAIN}: has {size // 2} bytes, and {size} were written; it is made again" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "verified: everything is as recorded"
    assert digests(output) == digests(built)


def test_files_that_no_run_has_recorded_are_made_again_if_they_have_no_end(output: Path, built: Path, build, digests):
    forget_files(output)
    (scores,) = output.glob(f"scores/*/{PART}")
    for path in (output / TRAIN, scores, output / "labels/ekman" / PART, output / "transcripts" / PART):
        cut(path)
    done = build("--verify")
    assert done.returncode == 0, done.stderr
    assert sum(line.endswith(": is cut off; it is made again") for line in done.stdout.splitlines()) == 4
    assert digests(output) == digests(built)


@pytest.mark.parametrize("how", [cut, Path.unlink])
def test_a_unit_whose_rejects_are_damaged_is_begun_anew(how, output: Path, built: Path, build, digests):
    how(output / "rejects" / PART)
    other = output / TRAIN.replace("ekman", "other")
    other.parent.mkdir()
    shutil.copy(output / TRAIN, other)
    done = build()
    assert done.returncode == 0, done.stderr
    assert f"rejects/{PART}: " in done.stdout and not other.exists()
    assert f"{TRAIN.replace('ekman', 'other')}: removed with the rejects of its unit; " in done.stdout
    assert digests(output) == digests(built)


@pytest.mark.parametrize(("folder", "command"), [("labels/ekman", "label"), ("transcripts", "transcribe")])
def test_a_command_that_only_reads_a_damaged_file_names_it_and_the_remedy(
    folder: str, command: str, output: Path, lanser
):
    path = output / folder / PART
    size = cut(path)
    done = lanser("shard", "--output", output, "--taxonomy", "ekman")
    fault = f"has {size // 2} bytes, and {size} were written; run lanser {command} or lanser build again"
    assert (done.returncode, done.stderr) == (2, f"lanser shard: {path}: {fault}, which makes it again\n")


def test_a_command_leaves_damaged_files_alone_that_it_neither_reads_nor_makes(output: Path, built: Path, lanser):
    (scores,) = output.glob(f"scores/*/{PART}")
    cut(scores)
    done = lanser("shard", "--output", output, "--taxonomy", "ekman")
    assert done.returncode == 0, done.stderr
    assert scores.exists() and "made again" not in done.stdout


@pytest.mark.parametrize("folder", ["transcripts", "rejects", "labels/ekman"])
def test_a_table_of_the_right_size_that_cannot_be_read_is_named(folder: str, output: Path, build):
    path = output / folder / PART
    content = path.read_bytes()
    path.write_bytes(b"PAR1" + b"\xff" * (len(content) - 8) + b"PAR1")
    (output / TRAIN).unlink()  # so that it is read
    done = build()
    *progress, line = done.stderr.splitlines()
    assert done.returncode == 2 and all(text.startswith("shard: ") for text in progress)
    assert line.startswith(f"lanser build: {path}: is damaged (")
    assert line.endswith("; delete it, and run the command that made it")


def test_options_of_files_without_dataset_json_are_not_invented(output: Path, build, digests):
    (output / "dataset.json").unlink()
    before = digests(output)
    done = build("--min-score", "0.5")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"lanser build: --output {output}: has no dataset.json, which holds the options of ")
    assert not (output / "dataset.json").exists() and digests(output) == before
