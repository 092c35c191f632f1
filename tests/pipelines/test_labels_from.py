"""Labels from elsewhere (--labels-from), from the file to shards and to another taxonomy."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

LABELS = {
    "slt/best_day.wav": "joy",
    "slt/thank_you.flac": "Joy",
    "slt/love_you.mp3": "joy",
    "slt/dog_died.m4a": "sadness",
    "rms/grandfather.opus": "sadness",
    "en-us/stop_shouting.mp3": "anger",
}
# What the small corpus has beside the recordings of LABELS.
UNLABELLED = {
    "awb/child_is_safe.flac",
    "rms/hilarious.mp4",
    "slt/miss_my_friends.webm",
    "slt/someone_downstairs.ogg",
}


def write_csv(path: Path, header: list[str], rows: list[list]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def samples(output: Path, taxonomy: str) -> dict[str, dict]:
    tars = sorted(map(str, (output / "shards" / taxonomy).glob("*.tar")))
    fields = [orjson.loads(sample["json"]) for sample in wds.WebDataset(tars, shardshuffle=False, empty_check=False)]
    return {row["source"]: row for row in fields}


@pytest.fixture(scope="module")
def labelled(built: Path, small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """The transcripts of ``built`` sharded with LABELS, in which one recording has scores."""
    output = tmp_path_factory.mktemp("labelled") / "out"
    rows = [*map(list, LABELS.items()), ["slt/mistyped.wav", "joy"]]
    manifest = write_csv(output.parent / "people.csv", ["path", "label"], rows)
    done = lanser(
        "build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman", "--labels-from", manifest,
        "--num-shards", 2, "--val-fraction", 0, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "NLI:" not in done.stdout
    assert f"--labels-from {manifest}: 1 row names no utterance with a transcript: 7\n" in done.stdout
    return output


def test_a_build_shards_the_labels_of_people(labelled: Path):
    by_source = samples(labelled, "ekman")
    assert {source: row["label"] for source, row in by_source.items()} == {
        source: label.lower() for source, label in LABELS.items()
    }
    row = by_source["slt/dog_died.m4a"]
    assert (row["label_source"], row["nli_model"], row["score"], row["margin"]) == (
        "people.csv", "labels:people.csv", 1.0, 1.0,
    )  # fmt: skip
    assert sum(row["entailment"]) == 1.0


def test_an_utterance_without_a_label_is_a_reject(labelled: Path):
    rejects = pq.read_table(labelled / "rejects").to_pylist()
    assert {row["source"] for row in rejects if row["reason"] == "no_label"} == UNLABELLED
    content = json.loads((labelled / "dataset.json").read_text())["taxonomies"]["ekman"]
    assert content["label"]["label_source"] == "people.csv"
    assert content["accounts"]["rejects"]["no_label"] == 4
    assert content["accounts"]["samples"] == 6


def test_relabel_asks_the_labeller_again(labelled: Path, tmp_path: Path, lanser):
    done = lanser("relabel", "--shards", labelled, "--output", tmp_path / "out", "--taxonomy", "cremad6")
    assert done.returncode == 0, done.stderr
    by_source = samples(tmp_path / "out", "cremad6")
    assert by_source.keys() == LABELS.keys()
    assert by_source["slt/dog_died.m4a"]["label"] == "sad"
    assert "label_source" not in by_source["slt/dog_died.m4a"]
    assert 0 < by_source["slt/dog_died.m4a"]["score"] < 1


def test_shard_takes_scores_by_key(labelled: Path, tmp_path: Path, no_models, lanser):
    transcripts = {row["source"]: row for row in pq.read_table(labelled / "transcripts").to_pylist()}
    taxonomy = tmp_path / "two.yaml"
    taxonomy.write_text("name: two\nlabels: [{name: calm}, {name: upset, hypothesis: very upset}]\n")
    scores = {"slt/dog_died.m4a": (0.25, 0.75), "slt/best_day.wav": (0.5, 0.25)}
    rows = [
        {"key": transcripts[source]["key"], "calm": calm, "upset": upset} for source, (calm, upset) in scores.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    done = lanser("shard", "--output", labelled, "--taxonomy", taxonomy, "--labels-from", tmp_path / "scores.parquet")
    assert done.returncode == 0, done.stderr
    by_source = samples(labelled, "two")
    assert {
        source: (row["label"], row["score"], row["margin"], row["entailment"]) for source, row in by_source.items()
    } == {
        "slt/dog_died.m4a": ("upset", 0.75, 0.5, [0.25, 0.75]),
        "slt/best_day.wav": ("calm", 0.5, 0.25, [0.5, 0.25]),
    }


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (
            ["path", "label"],
            [["a.wav", "joy"], ["b.wav", "jou"]],
            "row 2: 'jou' is not a label of the taxonomy; did",
        ),
        (["name", "label"], [["a.wav", "joy"]], "needs a column 'key' or 'path' (it has: name, label)"),
        (["path", "emotion"], [["a.wav", "joy"]], "needs a column 'label', or scores in columns named anger, disgust"),
        (["path", "joy"], [["a.wav", 0.5]], "has scores of joy but none of anger; add the column 'anger'"),
        (["path", "label"], [["a.wav", "joy"], ["a.wav", "anger"]], "row 2: names the same utterance as row 1"),
        (["key", "label"], [["12", "joy"]], "row 1: its key is '12', not the 16 hex digits"),
        (["path", "start_s", "label"], [["a.wav", 1.5, "joy"]], "row 1: has one of start_s and end_s"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, header: list, rows: list, message: str, lanser):
    labels = write_csv(tmp_path / "labels.csv", header, rows)
    options = ["--input", tmp_path, "--output", tmp_path / "out", "--taxonomy", "ekman", "--labels-from", labels]
    done = lanser("build", *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lanser build: --labels-from {labels}: {message}")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, 1.5], "row 1: its score of upset is 1.5, which must be a number from 0 to 1"),
        ([0.5, ""], "has scores of calm but none of upset; add the column 'upset'"),
        ([0, 0], "row 1: no score is above 0"),
        ([0.2, 0.8], "row 1: its label is calm, but upset has the highest score"),
    ],
)
def test_bad_scores_are_refused_with_their_row(tmp_path: Path, scores: list, message: str, lanser):
    (tmp_path / "two.yaml").write_text("name: two\nlabels: [{name: calm}, {name: upset}]\n")
    labels = write_csv(tmp_path / "labels.csv", ["path", "label", "calm", "upset"], [["a.wav", "calm", *scores]])
    options = ["--output", tmp_path, "--taxonomy", tmp_path / "two.yaml", "--labels-from", labels]
    done = lanser("shard", *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def test_an_option_of_the_labeller_is_refused(tmp_path: Path, lanser):
    labels = write_csv(tmp_path / "labels.csv", ["path", "label"], [["a.wav", "joy"]])
    options = ["--output", tmp_path, "--taxonomy", "ekman", "--labels-from", labels, "--prior-strength", 0.2]
    done = lanser("shard", *options)
    assert done.returncode == 2
    assert done.stderr == (
        "lanser shard: --prior-strength: no labeller runs with --labels-from; leave one of them out\n"
    )
