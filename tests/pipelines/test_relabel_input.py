"""What ``lanser relabel`` refuses, and bad samples in the shards that it reads."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import relabel, shard


@pytest.fixture
def shards(built: Path, tmp_path: Path) -> Path:
    """The tars of ``built``, and nothing else of it."""
    return Path(shutil.copytree(built / "shards" / "ekman", tmp_path / "tars"))


def statistics_of(output: Path, taxonomy: str) -> dict:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]


def succeed(command: Callable, *argv: str | Path) -> None:
    assert command([*map(str, argv), "--threads", "1"]) == 0


def fails(capsys: pytest.CaptureFixture, *argv: str | Path) -> str:
    """Run ``lanser relabel``; returns its one line on stderr."""
    capsys.readouterr()
    assert relabel.main([*map(str, argv), "--taxonomy", "ekman"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("lanser relabel: ")


def test_other_options_are_refused_without_overwrite(shards: Path, tmp_path: Path, no_models, capsys):
    output = tmp_path / "out"
    argv = ["--shards", shards, "--output", output]
    succeed(relabel.main, *argv, "--taxonomy", "ekman")
    (output / "mine.txt").write_text("mine")
    assert 'prior was "corpus", is now "null"' in fails(capsys, *argv, "--prior", "null")
    assert "prior_strength was 0.4, is now 0.3" in fails(capsys, *argv, "--prior-strength", "0.3")
    (shards / "val-00003-of-00004.tar").unlink()
    assert "the shards changed (4 tars then, 3 now)" in fails(capsys, *argv)
    succeed(relabel.main, *argv, "--taxonomy", "ekman", "--overwrite")
    names = sorted(path.name for path in output.glob("shards/ekman/*.tar"))
    assert names == [f"train-0000{n}-of-00004.tar" for n in range(3)]
    assert (output / "mine.txt").read_text() == "mine"


def test_a_directory_is_made_from_audio_or_from_shards(built: Path, shards: Path, tmp_path: Path, capsys):
    for place in (built, built / "shards" / "ekman"):
        line = fails(capsys, "--shards", place, "--output", built, "--overwrite")
        assert line == f"--output {built}: was made from audio by lanser build; relabel into another folder"
    line = fails(capsys, "--shards", shards, "--output", tmp_path, "--overwrite")
    assert line == f"--output {tmp_path}: {shards}/train-00000-of-00004.tar lies in it; write to another folder"
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    assert shard.main(["--output", str(tmp_path / "out"), "--taxonomy", "ekman"]) == 2
    assert "was made from shards by lanser relabel" in capsys.readouterr().err


def test_names_that_are_not_shards(built: Path, shards: Path, tmp_path: Path, capsys):
    output = tmp_path / "out"
    for name in ("ekman", "mine"):
        shutil.copytree(shards, tmp_path / "sets" / "shards" / name)
    assert "has several sets of shards; name one: " in fails(capsys, "--shards", tmp_path / "sets", "--output", output)
    assert "no such tar, and no folder with shards" in fails(capsys, "--shards", tmp_path / "no", "--output", output)
    assert "no such tar, and no folder with" in fails(capsys, "--shards", built / "labels", "--output", output)
    (shards / "mine.tar").write_bytes(b"")
    assert "not named like a shard of lanser" in fails(capsys, "--shards", shards / "*.tar", "--output", output)
    shutil.copy(shards / "train-00000-of-00004.tar", shards / "val-00000-of-00004.tar")
    assert "is the same unit as" in fails(capsys, "--shards", shards, "--output", output)
    (shards / "val-00000-of-00004.tar").rename(shards / "val-00000-of-00005.tar")
    assert "not of one set" in fails(capsys, "--shards", shards, "--output", output)
    assert not list(output.glob("**/*.tar"))


def rewritten(tar: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Replace ``tar`` by one with its members changed."""
    with tarfile.open(tar) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    with tarfile.open(tar, "w") as archive:
        for name, content in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_a_bad_sample_is_a_reject(shards: Path, tmp_path: Path, no_models):
    tar = shards / "train-00000-of-00004.tar"
    with tarfile.open(tar) as archive:
        key = archive.getnames()[0].split(".")[0]
    rewritten(tar, lambda members: members[:2] + members[3:])
    before = sorted(tmp_path.iterdir())
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    (reject,) = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert (reject["stage"], reject["reason"]) == ("unpack", "bad_sample")
    assert reject["source"] == f"train-00000-of-00004.tar/{key}.cls"
    assert reject["detail"] == f"there is no {key}.json beside it"
    statistics = statistics_of(tmp_path / "out", "ekman")
    assert statistics["rejects"] == {"bad_sample": 1}
    assert statistics["utterances"] == statistics["samples"] + 1 == 10
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])


def test_a_member_outside_the_tar_is_not_written(shards: Path, tmp_path: Path, no_models):
    tar = shards / "train-00000-of-00004.tar"
    rewritten(tar, lambda members: [("../../evil.cls", b"0"), *members])
    before = sorted(tmp_path.iterdir())
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    (reject,) = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert reject["source"] == "train-00000-of-00004.tar/../../evil.cls"
    assert statistics_of(tmp_path / "out", "ekman")["samples"] == 10
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])


def test_a_tar_of_bad_samples_is_refused(shards: Path, tmp_path: Path, capsys):
    tar = shards / "train-00001-of-00004.tar"
    with tarfile.open(tar) as archive:
        key = archive.getnames()[0].split(".")[0]
    rewritten(tar, lambda members: [member for member in members if not member[0].endswith(".cls")])
    line = fails(capsys, "--shards", shards, "--output", tmp_path / "out")
    assert line == f"--shards {tar}: {key}.flac: there is no {key}.cls beside it; name shards that lanser wrote"


def test_a_tar_that_lanser_did_not_write(shards: Path, tmp_path: Path, capsys):
    tar = shards / "train-00002-of-00004.tar"
    for content, reason in (
        (b"", "empty file"),
        (b"<html>" * 1000, "invalid header"),
        (tar.read_bytes()[:700], "no end of the archive after 1024 bytes"),
    ):
        tar.write_bytes(content)
        line = fails(capsys, "--shards", shards, "--output", tmp_path / "out")
        assert line == f"--shards {tar}: {reason}; name shards that lanser wrote"


def test_a_tar_without_audio_or_without_anything(shards: Path, tmp_path: Path, capsys):
    tar = shards / "train-00000-of-00004.tar"
    rewritten(tar, lambda members: [("notes.txt", b"hello")])
    line = fails(capsys, "--shards", tar, "--output", tmp_path / "out")
    assert line == (
        f"--shards {tar}: notes.txt: its name is not a key of 16 hex digits and .cls, .flac or .json; "
        "name shards that lanser wrote"
    )
    rewritten(tar, lambda members: [])
    line = fails(capsys, "--shards", tar, "--output", tmp_path / "out")
    assert line == f"--shards {tar}: is empty; name shards that lanser wrote"


def test_the_rest_of_a_tar_that_was_cut_off_is_a_reject(shards: Path, tmp_path: Path, no_models):
    tar = max(shards.glob("*.tar"), key=lambda path: path.stat().st_size)
    with tarfile.open(tar) as archive:
        samples = len(archive.getnames()) // 3
    os.truncate(tar, tar.stat().st_size - 12_000)
    assert samples > 1
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    reasons = {reject["reason"] for reject in rejects}
    assert "broken_tar" in reasons <= {"broken_tar", "bad_sample"}
    assert statistics_of(tmp_path / "out", "ekman")["samples"] == 9
