"""What `lanser predict` takes and what it writes; tests/training/test_finetune.py checks the probabilities."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from training.model import new_model, save_model
from training.predict import main

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    save_model(new_model("resnet10-quarter", "tiny", ("anger", "joy")), folder / "model")
    return folder


def predict(run, *argv):
    return main([*map(str, argv), "--checkpoint", str(run), "--device", "cpu"])


def test_a_folder_to_csv(run, tmp_path, capsys):
    output = tmp_path / "predictions.csv"
    assert predict(run, EXAMPLES / "audio", "--output", output) == 0
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "predicted", "anger", "joy"]
    assert rows[0]["path"] == str(EXAMPLES / "audio" / "awb" / "child_is_safe.flac")
    assert all(float(row["anger"]) + float(row["joy"]) == pytest.approx(1, abs=1e-5) for row in rows)
    assert all(row["predicted"] == max(("anger", "joy"), key=lambda label: float(row[label])) for row in rows)
    result = capsys.readouterr()
    assert result.out == f"wrote {output}, {len(rows)} of {len(rows) + 1} files\n"
    assert f"cannot be decoded, left out: {EXAMPLES / 'audio' / 'broken' / 'truncated.flac'}: " in result.err
    first = output.read_bytes()
    assert predict(run, EXAMPLES / "audio", "--output", output) == 0
    assert output.read_bytes() == first


def test_a_manifest_a_glob_and_a_file_to_jsonl(run, tmp_path):
    (tmp_path / "two.jsonl").write_text(
        json.dumps({"path": str(EXAMPLES / "audio" / "slt" / "best_day.wav")}) + "\n"
        + json.dumps({"path": str(EXAMPLES / "audio" / "awb" / "open_the_window.wav")}) + "\n"
    )  # fmt: skip
    names = [tmp_path / "two.jsonl", EXAMPLES / "audio" / "**" / "child*.flac", EXAMPLES / "audio/slt/best_day.wav"]
    assert predict(run, *names, "--output", tmp_path / "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["best_day.wav", "open_the_window.wav", "child_is_safe.flac"]
    assert list(rows[0]) == ["path", "predicted", "probabilities"]


def test_the_manifest_of_the_examples(run, tmp_path):
    assert predict(run, EXAMPLES / "manifest.csv", "--output", tmp_path / "out.csv") == 0
    with (EXAMPLES / "manifest.csv").open(newline="") as stream:
        names = list(dict.fromkeys(str(EXAMPLES / row["path"]) for row in csv.DictReader(stream)))
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == names


def test_names_do_not_reach_the_terminal_as_they_are(run, tmp_path, capsys):
    shutil.copy(EXAMPLES / "audio" / "slt" / "best_day.wav", tmp_path / "best\nday.wav")
    (tmp_path / "not\x1b[2J.wav").write_bytes(b"no audio")
    shutil.copy(EXAMPLES / "audio" / "slt" / "best_day.wav", os.fsencode(tmp_path) + b"/caf\xe9.wav")
    assert predict(run, tmp_path) == 0
    assert predict(run, tmp_path, "--output", tmp_path / "out.csv") == 0
    result = capsys.readouterr()
    assert "\x1b" not in result.err and result.err.count("cannot be decoded, left out: ") == 2
    assert result.out.splitlines()[0].startswith(f"{tmp_path}/best\N{REPLACEMENT CHARACTER}day.wav  ")
    with (tmp_path / "out.csv").open(newline="") as stream:
        paths = [row["path"] for row in csv.DictReader(stream)]
    assert paths == [f"{tmp_path}/best\nday.wav", f"{tmp_path}/caf\\udce9.wav"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere.wav"], "nowhere.wav: no such file, and no pattern that matches audio"),
        (["EMPTY"], "no audio below this folder"),
        (["EMPTY/no_path.csv"], "no_path.csv: row 1 has no path; a manifest needs a column path"),
        (["EMPTY/no_rows.csv"], "no_rows.csv: the manifest has no rows"),
        (["EMPTY/broken.jsonl"], "broken.jsonl: not a readable manifest ("),
        (["EMPTY/no_path.csv", "--output", "out.txt"], "--output out.txt: use a name that ends in .csv or .jsonl"),
        (["EMPTY/no_path.csv", "--output", "nowhere/out.csv"], "nowhere/out.csv cannot be written; choose a file in a"),
    ],
)
def test_bad_input_is_one_line(argv, message, run, tmp_path, capsys):
    (tmp_path / "no_path.csv").write_text("file\na.wav\n")
    (tmp_path / "no_rows.csv").write_text("path\n")
    (tmp_path / "broken.jsonl").write_text("{")
    assert predict(run, *[word.replace("EMPTY", str(tmp_path)) for word in argv]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
