"""What an output directory says of the machine that made it, and of what was said in the recordings."""

from __future__ import annotations

import csv
import getpass
import glob
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops.output.directory import OutputDir
from lanser_ops.report.survey import survey

FLAGS = ["--num-shards", "2", "--val-fraction", "0", "--threads", "1"]
TEXTS = {"best_day": "This is the best day of my life.", "thank_you": "Thank you so much for everything."}


@pytest.fixture(scope="module")
def corpus(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings whose texts are given, one that is said to be in German, and one that is not there."""
    folder = tmp_path_factory.mktemp("private") / "recordings"
    shutil.copytree(small_corpus, folder)
    rows = [(f"slt/{name}", TEXTS[name.partition(".")[0]], None) for name in ("best_day.wav", "thank_you.flac")]
    rows += [("gone.wav", "Gone.", None), ("awb/child_is_safe.flac", None, "de")]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "text", "language"), *rows])
    return folder


@pytest.fixture(scope="module")
def redacted(corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser):
    """(directory, everything that was printed) of a build with --redact."""
    output = tmp_path_factory.mktemp("redacted") / "out"
    given = ("--input", corpus / "manifest.csv", "--output", output, "--taxonomy", "ekman", *FLAGS)
    done = lanser("build", *given, "--redact", "--context", 1, "--verify")
    assert done.returncode == 0, done.stderr
    return output, done.stdout + done.stderr


def published(output: Path) -> dict[str, bytes]:
    """The content of every file but those below .private; of Parquet files, the values."""
    return {
        str(path.relative_to(output)): (
            json.dumps(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else b""
        )
        + path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.relative_to(output).parts[0] != ".private"
    }


def test_no_path_user_or_host_is_published(redacted, corpus: Path, built: Path):
    secrets = [corpus.parent, Path.home(), getpass.getuser(), socket.gethostname()]
    words = {str(secret).encode() for secret in secrets if len(str(secret)) > 4}  # a user called "root" is in "roots"
    for output in (redacted[0], built):
        contents = published(output)
        assert {"dataset.json", "README.md", "report.html", "plan.parquet"} <= contents.keys()
        leaks = [(name, word) for name, content in contents.items() for word in words if word in content]
        assert leaks == []
    assert json.loads((redacted[0] / "dataset.json").read_text())["plan"]["inputs"] == ["manifest.csv"]
    (reject,) = (row for row in pq.read_table(redacted[0] / "rejects").to_pylist() if row["source"] == "gone.wav")
    assert (reject["reason"], reject["detail"]) == ("missing", "No such file or directory")


def test_redacted_shards_report_and_log_hold_no_transcript(redacted):
    output, printed = redacted
    outside = {name: content for name, content in published(output).items() if not name.startswith("transcripts/")}
    del outside["plan.parquet"]
    assert len([name for name in outside if name.endswith(".tar")]) == 2
    (reject,) = (row for row in pq.read_table(output / "rejects").to_pylist() if row["reason"] == "language")
    assert (reject["source"], reject["detail"]) == ("awb/child_is_safe.flac", "it is de")
    for text in (*TEXTS.values(), "child is"):
        assert [name for name, content in outside.items() if text.encode() in content] == []
        assert text not in printed
    for tar in output.glob("shards/ekman/*.tar"):
        with tarfile.open(tar) as opened:
            (fields,) = (json.load(opened.extractfile(name)) for name in opened.getnames() if name.endswith(".json"))
        assert fields["text"] is None and "context_texts" not in fields
        assert fields["label"] in fields["labels"]


def test_the_report_of_redacted_shards_does_not_call_them_repeats(redacted):
    assert survey(OutputDir(str(redacted[0])), "ekman", ["joy"]).repeats == 0
    assert "have the words of another one" not in (redacted[0] / "report.html").read_text()


def test_redacted_shards_are_not_relabelled(redacted, tmp_path: Path, lanser):
    done = lanser("relabel", "--shards", redacted[0], "--taxonomy", "iemocap4", "--output", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "was written with --redact and holds no transcripts, which a label needs; run lanser label" in done.stderr


def test_redacted_shards_are_trained_on_and_not_shown_to_people(redacted, tmp_path: Path, lanser):
    run = tmp_path / "run"
    tiny = ("--backbone", "resnet10-quarter", "--device", "cpu", "--batch-size", 2, "--crop-s", 0.4, "--in-process")
    done = lanser("pretrain", "--shards", redacted[0], "--output", run, "--epochs", 1, *tiny)
    assert done.returncode == 0, done.stderr
    assert (run / "model" / "model.safetensors").is_file()
    done = lanser("sample", redacted[0], "--output", tmp_path / "sample.csv")
    assert (done.returncode, done.stderr) == (
        2,
        f"lanser sample: {redacted[0]}: was written with --redact and holds no transcripts to label by; "
        "write the shards again with lanser shard, without --redact\n",
    )
    assert list(tmp_path.iterdir()) == [run]


def test_relabel_leaves_transcripts_out_too(built: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    given = ("--shards", built, "--taxonomy", "ekman", "--output", output, "--redact", "--verify")
    done = lanser("relabel", *given)
    assert done.returncode == 0, done.stderr
    text = b"I love you more than anything else in the world."
    assert any(text in path.read_bytes() for path in built.glob("shards/ekman/*.tar"))
    assert not any(text in path.read_bytes() for path in output.glob("shards/ekman/*.tar"))


def test_no_transcript_is_logged(small_corpus: Path, built: Path, tmp_path: Path, lanser, caplog):
    caplog.set_level(logging.INFO)
    texts = {row["source"].partition("/")[2]: row["text"] for row in pq.read_table(built / "transcripts").to_pylist()}
    audio = tmp_path / "audio"
    audio.mkdir()
    for name in ("thank_you.flac", "love_you.mp3"):
        shutil.copy(small_corpus / "slt" / name, audio / name)
    done = lanser("build", "--input", audio, "--output", tmp_path / "out", "--taxonomy", "ekman", *FLAGS, "--verbose")
    assert done.returncode == 0, done.stderr
    written = b"".join(published(tmp_path / "out").values())
    said = done.stdout + done.stderr + caplog.text
    assert "INFO" in caplog.text
    for name in ("thank_you.flac", "love_you.mp3"):
        assert texts[name].encode() in written and texts[name] not in said


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_ends_a_build_in_one_line_and_the_same_command_goes_on(
    number: signal.Signals, workers: int, built: Path, small_corpus: Path, tmp_path: Path, lanser, digests
):
    output = tmp_path / "out"
    flags = ("--num-shards", "4", "--val-fraction", "0.2", "--threads", "1", "--workers", str(workers))
    command = ["build", "--input", str(small_corpus), "--output", str(output), "--taxonomy", "ekman", *flags]
    job = subprocess.Popen(
        [sys.executable, "-m", "lanser_ops", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A suite in the background of a shell ignores Ctrl-C, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not glob.glob(f"{output}/attempts/*/*") and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(job.pid, number) if workers == 1 else job.send_signal(number)
    lines = [line for line in job.communicate(timeout=120)[1].splitlines() if not line.startswith("shard: ")]
    assert lines == ["lanser build: interrupted; the same command continues where it stopped"]
    assert job.returncode == 128 + number
    assert not (output / "job.lock").exists()
    done = lanser(*command[:-2], "--verify")
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(built)
