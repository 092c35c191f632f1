"""The dataset card: what `datasets` loads by it, what it says, and that its code runs as it stands."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

EKMAN = ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` keeps what it reads below the test's own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def metadata_of(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def check_taxonomy(folder: Path, taxonomy: str, labels: list[str], count: int) -> None:
    """Loading ``folder`` for a taxonomy gives ``count`` rows, which are those of its shards."""
    from datasets import load_dataset

    splits = load_dataset(str(folder), taxonomy)
    rows = [row for split in splits.values() for row in split]
    assert len(rows) == count and set(splits) <= {"train", "validation"}
    assert splits["train"].features["cls"].names == labels
    for row in rows:
        assert row["json"]["taxonomy"] == taxonomy and row["json"]["key"] == row["__key__"]
        assert labels[row["cls"]] == row["json"]["label"]
        assert row["flac"][:4] == b"fLaC" and len(row["json"]["entailment"]) == len(labels)


def test_one_taxonomy_loads_without_its_name(built: Path, lanser):
    from datasets import load_dataset

    assert lanser("report", built).returncode == 0
    check_taxonomy(built, "ekman", EKMAN, 10)
    assert sum(map(len, load_dataset(str(built)).values())) == 10


def test_three_taxonomies_have_their_own_rows_and_names(three: Path):
    from datasets import load_dataset

    check_taxonomy(three, "ekman", EKMAN, 10)
    check_taxonomy(three, "valence", ["bad", "good"], 10)
    samples = json.loads((three / "dataset.json").read_text())["taxonomies"]["arousal"]["accounts"]["samples"]
    assert 5 <= samples < 10
    check_taxonomy(three, "arousal", ["calm", "excited"], samples)
    with pytest.raises(ValueError, match="Config name is missing"):
        load_dataset(str(three))


def test_a_folder_laid_out_as_the_hub_serves_it(three: Path, tmp_path: Path):
    published = tmp_path / "published"
    shutil.copytree(three / "shards", published / "shards")
    shutil.copy(three / "README.md", published)
    check_taxonomy(published, "ekman", EKMAN, 10)
    check_taxonomy(published, "valence", ["bad", "good"], 10)


def test_relabelled_shards_load_and_are_counted_as_the_recordings_they_hold(three: Path, tmp_path: Path, lanser):
    output = tmp_path / "relabelled"
    given = ("--shards", three / "shards" / "ekman", "--output", output, "--taxonomy", three.parent / "valence.yaml")
    done = lanser("relabel", *given, "--threads", "1")
    assert done.returncode == 0, done.stderr
    check_taxonomy(output, "valence", ["bad", "good"], 10)
    # The silent and the broken recording are not in the shards.
    assert "\n10 recordings, 10 utterances, " in (output / "README.md").read_text()
    assert "\n12 recordings, 12 utterances, " in (three / "README.md").read_text()


def test_rejects_of_relabelled_shards_can_be_heard(three: Path, tmp_path: Path, lanser):
    output = tmp_path / "relabelled"
    given = ("--shards", three / "shards" / "ekman", "--output", output, "--taxonomy", three.parent / "arousal.yaml")
    done = lanser("relabel", *given, "--threads", "1", "--keep-top", "0.5")
    assert done.returncode == 0, done.stderr
    rejects = pq.read_table(output / "rejects").to_pylist()
    assert {reject["reason"] for reject in rejects} == {"not_selected"}
    section = (output / "report.html").read_text().partition('<section id="rejects"')[2]
    keys = re.findall(r'<audio [^>]*data-key="([0-9a-f]{16})"', section)
    assert keys == sorted(reject["key"] for reject in rejects)[:3]


def test_metadata(three: Path):
    metadata = metadata_of(three)
    assert metadata["license"] == "unknown" and metadata["language"] == ["en"]
    assert metadata["size_categories"] == ["n<1K"] and "emotion-recognition" in metadata["tags"]
    assert metadata["task_categories"] == ["audio-classification"]
    assert [config["config_name"] for config in metadata["configs"]] == ["ekman", "valence", "arousal"]
    assert metadata["configs"][1]["data_files"] == [
        {"split": "train", "path": "shards/valence/train-*.tar"},
        {"split": "validation", "path": "shards/valence/val-*.tar"},
    ]
    assert metadata["dataset_info"][2]["features"][3] == {
        "name": "cls", "dtype": {"class_label": {"names": {"0": "calm", "1": "excited"}}},
    }  # fmt: skip


def test_every_field_of_a_sample_has_a_feature(three: Path):
    from datasets import load_dataset

    with tarfile.open(next(three.glob("shards/ekman/train-*.tar"))) as tar:
        fields = json.load(tar.extractfile(next(name for name in tar.getnames() if name.endswith(".json"))))
    row = next(iter(load_dataset(str(three), "ekman", split="train", streaming=True)))
    assert set(fields) <= set(row["json"]) and row["json"]["hypotheses"] == fields["hypotheses"]


def test_no_path_of_the_machine_is_in_the_documents(three: Path, small_corpus: Path):
    for name in ("README.md", "report.html"):
        text = (three / name).read_text()
        assert str(small_corpus.parent) not in text and str(three.parent) not in text, name
    assert f"| input | {small_corpus.name} |" in (three / "README.md").read_text()


def test_the_loading_code_runs_as_it_stands(three: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(three)
    codes = re.findall(r"```python\n(.*?)```", (three / "README.md").read_text(), flags=re.DOTALL)
    assert len(codes) == 2
    keys = []
    for code in codes:
        exec(compile(code, "README.md", "exec"), {})
        lines = [line for line in capsys.readouterr().out.splitlines() if re.match("[0-9a-f]{16} ", line)]
        keys.append([line.split()[0] for line in lines])
        assert {line.split()[1] for line in lines} <= set(EKMAN)
    assert keys[0] == keys[1] and 5 <= len(keys[0]) < 10


def test_a_licence_that_was_entered_stays(three: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    shutil.copytree(three, output)
    card = output / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    assert lanser("report", output).returncode == 0
    assert not (output / ".tmp").exists()
    assert metadata_of(output)["license"] == "cc-by-4.0"
    card.write_text("---\nlicense: [\n---\n<!-- Written by lanser -->\n")
    assert lanser("report", output).returncode == 0
    assert metadata_of(output)["license"] == "unknown"


def test_documents_of_somebody_else_are_left_alone(three: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    shutil.copytree(three, output)
    (output / "README.md").write_text("my notes\n")
    done = lanser("report", output)
    assert done.returncode == 0
    assert done.stdout == (f"wrote {output}/report.html\nleft {output}/README.md alone: lanser did not write it\n")
    assert (output / "README.md").read_text() == "my notes\n"
