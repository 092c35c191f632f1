"""--calibration and --temperature: no model runs, and relabelling gives the bytes of a direct build."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lanser_ops.commands import try_texts
from pipelines import label, relabel, shard
from schemas.calibration import Calibration, FittedOn, dump_calibration

EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")


def tars_of(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("shards/ekman/*.tar"))}


def samples_of(output: Path) -> dict[str, dict]:
    samples = {}
    for content in tars_of(output).values():
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for name in archive.getnames():
                if name.endswith(".json"):
                    samples[name] = json.load(archive.extractfile(name))
    return samples


def succeed(command: Callable, *argv: str | Path) -> None:
    assert command([*map(str, argv), "--threads", "1"]) == 0


@pytest.fixture
def write_calibration(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a calibration that was fitted on the small corpus, with some of its fields changed."""
    sample = next(iter(samples_of(built).values()))

    def write(values: dict[str, float], **changed) -> Path:
        fitted_on = {"taxonomy": "ekman", "labels": EKMAN, "templates": tuple(sample["templates"]), "against": "all"}
        fitted_on |= {name: sample[name] for name in ("nli_model", "nli_sha256")}
        calibration = Calibration(FittedOn(**fitted_on | changed), 200, values)
        path = tmp_path / "cal.yaml"
        path.write_bytes(dump_calibration(calibration))
        return path

    return write


VALUES = {"prior_strength": 0.2, "temperature": 2.0, "min_score": 0.35}


@pytest.mark.parametrize("by_file", [True, False], ids=["file", "flags"])
def test_relabelling_gives_the_bytes_of_a_build(built: Path, tmp_path: Path, write_calibration, no_models, by_file):
    options = ["--calibration", write_calibration(VALUES)]
    if not by_file:
        options = ["--prior-strength", "0.2", "--temperature", "2", "--min-score", "0.35"]
    labelling = [option for option in options if option not in ("--min-score", "0.35")]
    expected = tmp_path / "direct"
    shutil.copytree(built, expected)
    succeed(label.main, "--output", expected, "--taxonomy", "ekman", "--overwrite", *labelling)
    succeed(shard.main, "--output", expected, "--taxonomy", "ekman", *options)
    output = tmp_path / "out"
    succeed(relabel.main, "--shards", built, "--output", output, "--taxonomy", "ekman", *options)
    assert tars_of(output) == tars_of(expected) != {}
    account = json.loads((output / "dataset.json").read_text())["taxonomies"]["ekman"]
    assert account["accounts"]["pairs_scored"] == 0
    assert (account["label"]["prior_strength"], account["label"]["temperature"]) == (0.2, 2.0)
    assert account["shard"]["min_score"] == 0.35
    samples = samples_of(output).values()
    assert 0 < len(samples) < 10
    assert {(sample["temperature"], sample["prior_strength"]) for sample in samples} == {(2.0, 0.2)}
    assert min(sample["score"] for sample in samples) >= 0.35


def test_a_temperature_changes_scores_and_no_label(built: Path, tmp_path: Path, no_models):
    before = samples_of(built)
    for temperature in ("0.5", "3"):
        output = tmp_path / temperature
        succeed(
            relabel.main, "--shards", built, "--output", output, "--taxonomy", "ekman", "--temperature", temperature
        )
        after = samples_of(output)
        assert after.keys() == before.keys()
        for name, sample in after.items():
            assert (sample["label"], sample["entailment"]) == (before[name]["label"], before[name]["entailment"])
            assert (sample["score"] > before[name]["score"]) == (temperature == "0.5")
            assert (sample["margin"] > before[name]["margin"]) == (temperature == "0.5")


def test_flags_win_over_the_file(built: Path, tmp_path: Path, write_calibration, no_models):
    output = tmp_path / "out"
    succeed(
        relabel.main, "--shards", built, "--output", output, "--taxonomy", "ekman",
        "--calibration", write_calibration(VALUES), "--prior-strength", "0.4", "--temperature", "1", "--min-score", "0",
    )  # fmt: skip
    assert tars_of(output) == tars_of(built)


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"taxonomy": "moods"}, [], "was fitted on the taxonomy moods, not ekman"),
        ({"labels": EKMAN[:6]}, [], "was fitted on the taxonomy ekman, other labels of the same name"),
        ({"nli_sha256": "f" * 64, "nli_model": "x"}, [], "was fitted on scores of x, not of lanser MiniLM-L6 NLI"),
        ({"against": "contradiction"}, [], "was fitted on --against contradiction, not all"),
        ({"templates": ("So {}.",)}, [], "was fitted on other templates (So {}.)"),
        ({}, ["--prior", "null"], "was fitted on the corpus prior, not --prior null"),
    ],
)
def test_a_file_for_other_scores_is_refused(write_calibration, capsys, changed: dict, options: list[str], message: str):
    path = write_calibration(VALUES, **changed)
    assert try_texts.main(["hm", "--taxonomy", "ekman", "--calibration", str(path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lanser try: --calibration {path}: {message}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, capsys):
    assert try_texts.main(["hm", "--taxonomy", "ekman", "--calibration", str(tmp_path / "none.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"lanser try: --calibration {tmp_path}/none.yaml: cannot be read (No such file or directory)"
    (tmp_path / "bad.yaml").write_text("- 1\n")
    assert try_texts.main(["hm", "--taxonomy", "ekman", "--calibration", str(tmp_path / "bad.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lanser try: --calibration {tmp_path}/bad.yaml:1: the file is a list; it must be a mapping")
