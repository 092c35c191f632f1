"""--log-format json: every line on stderr is an object, and none holds a transcript."""

from __future__ import annotations

import datetime
import json
import logging
from pathlib import Path

import pytest

from lanser_ops.common import events

TEXTS = {
    "slt/best_day.wav": "Wonderful words that nobody must read",
    "slt/thank_you.flac": "Grateful words that nobody must read",
    "broken/silent.wav": "Silent words that nobody must read",
    "broken/truncated.flac": "Broken words that nobody must read",
}


@pytest.fixture(scope="module")
def manifest(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "list.csv"
    path.write_text("path,text\n" + "".join(f"{small_corpus / name},{text}\n" for name, text in TEXTS.items()))
    return path


def test_a_build_says_progress_and_rejects_as_objects(lanser, manifest: Path, tmp_path: Path):
    done = lanser(
        "build", "--input", manifest, "--output", tmp_path / "out", "--taxonomy", "ekman", "--num-shards", 2,
        "--threads", 1, "--val-fraction", 0, "--min-score", 1, "--log-format", "json",
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0, done.stderr
    for line in lines:
        assert datetime.datetime.fromisoformat(line["time"]).utcoffset() == datetime.timedelta(0)
        assert line["level"] in ("info", "warning") and line["message"]
    progress = [line for line in lines if "units_done" in line]
    assert (progress[-1]["stage"], progress[-1]["units_done"], progress[-1]["units"]) == ("shard", 2, 2)
    rejects = sorted((line["stage"], line["reason"], line["count"]) for line in lines if line["level"] == "warning")
    assert [reject for reject in rejects if reject[0] == "transcribe"] == [
        ("transcribe", "no_speech", 1),
        ("transcribe", "truncated", 1),
    ]
    assert sum(count for stage, reason, count in rejects if (stage, reason) == ("shard:ekman", "low_score")) == 2
    assert {line["unit"] for line in lines if line["level"] == "warning"} == {0, 1}
    assert "words that nobody" not in done.stderr
    again = lanser(
        "build", "--input", manifest, "--output", tmp_path / "out", "--taxonomy", "ekman", "--num-shards", 2,
        "--threads", 1, "--val-fraction", 0, "--min-score", 1, "--log-format", "json",
    )  # fmt: skip
    # What was transcribed before is no news; a unit without samples has no shard, and is tried again.
    assert {line.get("stage") for line in map(json.loads, again.stderr.splitlines())} == {"shard:ekman", "shard"}


def test_mistakes_and_warnings_are_objects_too(lanser, manifest: Path, tmp_path: Path):
    given = ("build", "--input", manifest, "--output", tmp_path / "out", "--log-format=json")
    (mistake,) = map(json.loads, lanser(*given, "--taxonomy", "ekmann").stderr.splitlines())
    assert (mistake["level"], mistake["command"], mistake["status"]) == ("error", "build", 2)
    assert "ekmann" in mistake["message"]
    warning, _ = map(
        json.loads, lanser(*given, "--taxonomy", "x", "--prior", "null", "--hourly-price", 1).stderr.splitlines()
    )
    assert (warning["level"], warning["message"]) == ("warning", "--hourly-price does nothing without --dry-run")
    config = tmp_path / "options.yaml"
    config.write_text("log-format: json\n")
    refused = lanser(*given[:-1], "--taxonomy", "ekmann", "--config", config)
    assert json.loads(refused.stderr)["status"] == 2
    assert lanser(*given[:-1], "--taxonomy", "ekmann").stderr.startswith("lanser build: ")


def test_log_records_are_events(capsys: pytest.CaptureFixture[str]):
    events.set_format("json")
    try:
        logging.getLogger("lanser_ops.asr").warning("unit %d", 7, extra={"unit": 7, "reason": "gave_up"})
    finally:
        events.set_format("text")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"], line["unit"], line["reason"]) == ("warning", "unit 7", 7, "gave_up")
