"""``lanser sample``: the CSV, and audio that can be opened."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import soundfile


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def samples_of(output: Path) -> dict[str, dict]:
    samples = {}
    for path in output.glob("shards/ekman/*.tar"):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                if name.endswith(".json"):
                    fields = json.load(archive.extractfile(name))
                    samples[fields["key"]] = fields
    return samples


def test_a_sample_has_what_the_shards_have(sentences: Path, tmp_path: Path, lanser):
    done = lanser("sample", sentences, "--n", 20, "--output", tmp_path / "my.csv")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'my.csv'}: 20 of 52 utterances; their audio is in {tmp_path / 'my-audio'}" in done.stdout
    rows, samples = rows_of(tmp_path / "my.csv"), samples_of(sentences)
    assert list(rows[0]) == ["key", "audio", "transcript", "label", "score", "margin", "weight", "human"]
    assert len(rows) == 20 and sum(int(row["weight"]) for row in rows) == len(samples) == 52
    assert {row["label"] for row in rows} == {sample["label"] for sample in samples.values()}
    for row in rows:
        sample = samples[row["key"]]
        assert (row["transcript"], row["label"], row["human"]) == (sample["text"], sample["label"], "")
        assert (float(row["score"]), float(row["margin"])) == (sample["score"], sample["margin"])
        info = soundfile.info(tmp_path / row["audio"])
        assert (info.format, info.samplerate, info.duration) == ("FLAC", 16000, 0.5)
    assert len(list((tmp_path / "my-audio").iterdir())) == 20


def test_the_same_command_draws_the_same_rows(sentences: Path, tmp_path: Path, lanser):
    digests = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = tmp_path / folder / "sample.csv"
        output.parent.mkdir()
        assert lanser("sample", sentences, "--n", 20, "--seed", seed, "--output", output).returncode == 0
        digests.append(hashlib.sha256(output.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_a_file_that_may_have_labels_is_not_replaced(sentences: Path, tmp_path: Path, lanser):
    path = tmp_path / "sample.csv"
    path.write_text("labels\n")
    done = lanser("sample", sentences, "--output", path)
    assert (done.returncode, path.read_text()) == (2, "labels\n")
    assert done.stderr == (f"lanser sample: --output {path}: exists, perhaps with labels in it; choose another name\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["", "shards", "shards/ekman"])
def test_shards_are_found(sentences: Path, tmp_path: Path, lanser, place: str):
    done = lanser("sample", sentences / place, "--n", 1, "--output", tmp_path / "x.csv", "--audio", tmp_path / "flac")
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(tmp_path / "x.csv")
    assert row["audio"] == f"flac/{row['key']}.flac" and (tmp_path / row["audio"]).is_file()


def test_a_folder_without_shards_is_refused(tmp_path: Path, sentences: Path, lanser):
    done = lanser("sample", tmp_path, "--output", tmp_path / "x.csv")
    assert (done.returncode, done.stderr) == (
        2,
        f"lanser sample: {tmp_path}: no such tar, and no folder with shards (files such as train-00000-of-00008.tar)\n",
    )
    done = lanser("sample", sentences, "--taxonomy", "moods", "--output", tmp_path / "x.csv")
    assert done.returncode == 2 and f"{sentences}/shards/moods: no such tar" in done.stderr
