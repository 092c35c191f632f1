"""``lanser calibrate``: from labels in a CSV to a calibration file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from schemas.calibration import parse_calibration


@pytest.fixture(scope="module")
def labelled(sentences: Path, tmp_path_factory: pytest.TempPathFactory, lanser, emotion_of: dict[str, str]) -> Path:
    """A sample of all sentences, labelled with the emotion that they say, except for two rows."""
    folder = tmp_path_factory.mktemp("labelled")
    assert lanser("sample", sentences, "--output", folder / "sample.csv").returncode == 0
    rows = list(csv.DictReader(io.StringIO((folder / "sample.csv").read_text("utf-8-sig"), newline="")))
    assert len(rows) == 52
    with (folder / "labelled.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow(row | {"human": "" if number < 2 else emotion_of[row["transcript"]].upper()})
    return folder / "labelled.csv"


def edited(labelled: Path, path: Path, old: str, new: str) -> Path:
    content = labelled.read_text("utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), "utf-8")
    return path


def test_a_calibration_says_what_it_changes_and_why(sentences: Path, labelled: Path, tmp_path: Path, lanser):
    done = lanser("calibrate", sentences, "--csv", labelled, "--output", tmp_path / "cal.yaml", "--precision", 0.9)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"50 labelled rows, 2 without a label skipped; 52 utterances in {sentences}"
    # So few rows cannot tell strengths apart, but they do show that clear sentences are labelled too timidly.
    assert any(line.startswith("prior_strength: keep 0.4") for line in lines)
    assert any(line.startswith("temperature: 1 -> 0.") for line in lines)
    assert sum(line.startswith("  calibration error") for line in lines) == 1
    calibration = parse_calibration((tmp_path / "cal.yaml").read_bytes(), "cal.yaml")
    assert calibration.values["prior_strength"] == 0.4 and 0.2 <= calibration.values["temperature"] < 0.9
    assert calibration.fitted_on.taxonomy == "ekman" and calibration.rows == 50
    assert lines[-1].endswith(f"--calibration {tmp_path / 'cal.yaml'} --output DIR2")


def test_every_best_value_is_set_if_asked_for(sentences: Path, labelled: Path, tmp_path: Path, lanser):
    done = lanser("calibrate", sentences, "--csv", labelled, "--output", tmp_path / "cal.yaml", "--accept-all")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("prior_strength: ")]
    assert line.startswith("prior_strength: 0.4 -> ") and line.endswith("holds zero (--accept-all)")
    values = parse_calibration((tmp_path / "cal.yaml").read_bytes(), "cal.yaml").values
    assert values["prior_strength"] < 0.4 and "min_score" not in values


def test_the_order_of_the_rows_changes_nothing(sentences: Path, labelled: Path, tmp_path: Path, lanser):
    header, *rows = labelled.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "turned.csv").write_text("".join([header, *reversed(rows)]), "utf-8")
    outputs = []
    for name in (labelled, tmp_path / "turned.csv"):
        done = lanser("calibrate", sentences, "--csv", name, "--output", tmp_path / "cal.yaml")
        outputs.append((done.returncode, done.stdout, (tmp_path / "cal.yaml").read_bytes()))
    assert outputs[0] == outputs[1]


def test_bad_input_is_refused_in_one_line(sentences: Path, labelled: Path, tmp_path: Path, lanser):
    def message(csv_file: Path) -> str:
        done = lanser("calibrate", sentences, "--csv", csv_file, "--output", tmp_path / "cal.yaml")
        assert done.returncode == 2 and not (tmp_path / "cal.yaml").exists()
        (line,) = done.stderr.splitlines()
        return line.removeprefix(f"lanser calibrate: --csv {csv_file}: ")

    line = message(edited(labelled, tmp_path / "a.csv", ",SADNESS", ",SADNES"))
    assert line.startswith("row ") and line.endswith("'SADNES' is not a label of the taxonomy; did you mean 'sadness'?")
    key = labelled.read_text("utf-8").splitlines()[3].split(",")[0]
    content = labelled.read_text("utf-8").replace(key, "0" * 16)
    (tmp_path / "b.csv").write_text(content, "utf-8")
    assert message(tmp_path / "b.csv") == (
        "row 3: 0000000000000000 is not in the shards; name the directory of the sample"
    )
    (tmp_path / "c.csv").write_text("".join(labelled.read_text("utf-8").splitlines(keepends=True)[:13]), "utf-8")
    assert message(tmp_path / "c.csv").endswith("at least 30 of two kinds are needed, better 200")
    assert "cannot be read" in message(tmp_path / "none.csv")
