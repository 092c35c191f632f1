"""Every export read back by the library that it is for."""

from __future__ import annotations

import csv
import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

HERE = Path(__file__).parent
EKMAN = ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]


def waves(flac: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(flac), dtype="float32")
    assert rate == 16000
    return samples


def test_datasets(exported, stored, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = exported("hf")
    splits = datasets.load_dataset(str(folder))
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": sum(sample.split == "train" for sample in stored.values()),
        "validation": sum(sample.split == "val" for sample in stored.values()),
    }
    assert splits["train"].features["cls"].names == EKMAN
    for row in (row for rows in splits.values() for row in rows):
        assert row["flac"] == stored[row["__key__"]].flac
        assert EKMAN[row["cls"]] == row["json"]["label"] == stored[row["__key__"]].fields["label"]
    assert {path.name for path in folder.iterdir()} == {"README.md", "dataset.json", "report.html", "shards"}
    for path in (folder / "shards" / "ekman").iterdir():
        assert path.samefile(built / "shards" / "ekman" / path.name)  # a second name, not a copy


def test_lhotse(exported, stored):
    from lhotse import CutSet

    folder = exported("lhotse")
    cuts = [(split, cut) for split in ("train", "val") for cut in CutSet.from_shar(in_dir=folder / split)]
    assert sorted(cut.id for _, cut in cuts) == sorted(stored)
    for split, cut in cuts:
        sample = stored[cut.id]
        assert split == sample.split
        np.testing.assert_array_equal(cut.load_audio()[0], waves(sample.flac))
        (supervision,) = cut.supervisions
        assert (supervision.text, supervision.language) == (sample.fields["text"], sample.fields["language"])
        assert supervision.custom == {
            "emotion": sample.fields["label"],
            "taxonomy": "ekman",
            **{name: sample.fields[name] for name in ("label_index", "score", "margin", "entailment")},
        }
        assert cut.duration == supervision.duration == sample.fields["duration_s"]


def test_wids(exported, stored, tmp_path: Path):
    wids = pytest.importorskip("wids", reason="wids is not installed; pip install wids")
    folder = exported("wids")
    for split in ("train", "val"):
        dataset = wids.ShardListDataset(str(folder / f"{split}.json"), localname=lambda url: url, transformations=[])
        keys = [key for key, sample in stored.items() if sample.split == split]
        assert len(dataset) == len(keys)
        # By number, in the order of the shards, from the back.
        for number in reversed(range(len(keys))):
            sample = dataset[number]
            assert sample["__key__"] == keys[number]
            assert sample[".flac"].getvalue() == stored[keys[number]].flac
            assert sample[".cls"].getvalue() == b"%d" % stored[keys[number]].fields["label_index"]
    assert {path.name for path in folder.iterdir()} == {"train.json", "val.json"}


def test_a_spreadsheet(exported, stored):
    folder = exported("csv")
    content = (folder / "samples.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfkey,path,transcript,label,score,margin,split\r\n")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [row["key"] for row in rows] == list(stored)
    for row in rows:
        sample = stored[row["key"]]
        assert row["path"] == f"audio/{row['key'][:2]}/{row['key']}.flac"
        assert (folder / row["path"]).read_bytes() == sample.flac
        assert (row["transcript"], row["label"], row["split"]) == (
            sample.fields["text"], sample.fields["label"], sample.split,
        )  # fmt: skip
        assert (float(row["score"]), float(row["margin"])) == (sample.fields["score"], sample.fields["margin"])


def test_our_own_reader_of_labelled_speech(exported, stored):
    from training.corpora.read import read_corpus

    corpus = read_corpus(str(exported("csv") / "samples.csv"), None, EKMAN)
    assert {(utterance.path.stem, utterance.label, utterance.split) for utterance in corpus.utterances} == {
        (key, sample.fields["label"], sample.split) for key, sample in stored.items()
    }
    assert all(utterance.path.is_file() for utterance in corpus.utterances)


def test_nemo(exported, stored, interpreter):
    printed = interpreter("LANSER_NEMO_PYTHON", HERE / "read_nemo.py", exported("nemo"))
    for loader in ("lhotse", "classification"):
        assert sorted(printed[loader]) == sorted(stored)
    for key, sample in stored.items():
        frames = len(waves(sample.flac))
        assert printed["lhotse"][key] == [sample.split, sample.fields["text"], sample.fields["label"], frames]
        assert printed["classification"][key] == [sample.split, EKMAN.index(sample.fields["label"]), frames]


def test_energon(exported, stored, interpreter):
    printed = interpreter("LANSER_ENERGON_PYTHON", HERE / "read_energon.py", exported("energon"))
    assert printed["samples"] == {
        key: [sample.split, sample.fields["label_index"], sample.fields["text"], len(sample.flac)]
        for key, sample in stored.items()
    }


def test_energon_would_have_prepared_the_same(exported, interpreter):
    """Our ``.nv-meta`` and indices are those that ``energon prepare`` makes of the same shards."""
    folder = exported("energon")
    own = folder / ".nv-meta"
    written = {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.suffix in (".idx", ".json")
    }
    splits, tables = yaml.safe_load((own / "split.yaml").read_text()), tables_of(own / "index.sqlite")
    interpreter("LANSER_ENERGON_PYTHON", HERE / "prepare_energon.py", folder)
    assert len(written) == 5
    for name, content in written.items():
        assert (folder / name).read_bytes() == content, name
    prepared = yaml.safe_load((own / "split.yaml").read_text())
    assert prepared.keys() == splits.keys() and prepared["split_parts"].keys() == splits["split_parts"].keys()
    assert tables_of(own / "index.sqlite") == tables
    assert yaml.safe_load((own / "dataset.yaml").read_text()) == {
        "__module__": "megatron.energon", "__class__": "CrudeWebdataset",
    }  # fmt: skip


def tables_of(path: Path) -> dict[str, list]:
    """The rows of both tables, and the names of all tables and indices."""
    database = sqlite3.connect(path)
    try:
        return {
            "names": sorted(database.execute("SELECT type, name FROM sqlite_master")),
            "samples": sorted(database.execute("SELECT * FROM samples")),
            "parts": sorted(database.execute("SELECT * FROM sample_parts")),
        }
    finally:
        database.close()
