"""Labels without audio: what `lanser relabel --sidecar` writes, and who reads it beside the shards."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from schemas.specs import ShardSpec
from training.losses import TargetSpec
from training.prepare import SampleSpec, prepare
from training.shards import Source, find_shards, read_index

# Hypotheses that the shards hold scores for, so that no model runs.
VALENCE = """\
name: valence
template: "This person feels {}."
labels:
  - {name: bad, hypothesis: sad}
  - {name: good, hypothesis: happy}
"""


@pytest.fixture(scope="module")
def taxonomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taxonomy") / "valence.yaml"
    path.write_text(VALENCE)
    return path


@pytest.fixture(scope="module")
def outputs(built: Path, taxonomy: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> tuple[Path, Path]:
    """The shared build relabelled as shards, and as a sidecar."""
    folder = tmp_path_factory.mktemp("sidecar")
    for name, options in (("shards", ()), ("sidecar", ("--sidecar",))):
        done = lanser(
            "relabel", "--shards", built, "--output", folder / name, "--taxonomy", taxonomy, "--threads", 1, *options
        )
        assert done.returncode == 0, done.stderr
    return folder / "shards", folder / "sidecar"


def members_of(output: Path) -> dict[str, bytes]:
    members = {}
    for path in sorted(output.glob("shards/valence/*.tar")):
        with tarfile.open(path) as archive:
            members |= {f"{path.name}/{member.name}": archive.extractfile(member).read() for member in archive}
    return members


def test_a_sidecar_is_the_shards_without_their_audio(outputs: tuple[Path, Path]):
    shards, sidecar = map(members_of, outputs)
    assert len(shards) == 30 and len(sidecar) == 20
    assert sidecar == {name: content for name, content in shards.items() if not name.endswith(".flac")}
    entry = json.loads((outputs[1] / "dataset.json").read_text())["taxonomies"]["valence"]
    assert entry["shard"]["sidecar"] is True and entry["accounts"]["samples"] == 10


def test_a_sidecar_is_verified(outputs: tuple[Path, Path], tmp_path: Path, lanser):
    assert lanser("verify", outputs[1]).returncode == 0
    shutil.copytree(outputs[1], tmp_path / "out")
    shutil.copytree(outputs[0] / "shards", tmp_path / "out" / "shards", dirs_exist_ok=True)
    done = lanser("verify", tmp_path / "out")
    assert done.returncode == 1 and "samples are not of cls, json" in done.stderr


def test_a_sidecar_has_a_card_and_a_report(outputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [row for split in datasets.load_dataset(str(outputs[1]), "valence").values() for row in split]
    assert len(rows) == 10 and set(rows[0]) == {"__key__", "json", "cls"}
    assert "These shards are sidecars" in (outputs[1] / "README.md").read_text()
    assert "These shards are sidecars" not in (outputs[0] / "README.md").read_text()
    assert "no audio on this page" in (outputs[1] / "report.html").read_text()


def test_the_trainer_reads_the_audio_of_the_shards_with_the_labels_of_the_sidecar(
    built: Path, outputs: tuple[Path, Path]
):
    spec = SampleSpec(TargetSpec(), ShardSpec(), None, 0)
    expected, expected_heldout, _ = prepare([Source((str(outputs[0]),), None)], spec)
    beside = SampleSpec(TargetSpec(), ShardSpec(), None, 0, (str(outputs[1]),))
    samples, heldout, _ = prepare([Source((str(built),), None)], beside)
    for read, whole in ((samples, expected), (heldout, expected_heldout)):
        assert (read.keys, read.labels, read.taxonomy) == (whole.keys, ("bad", "good"), "valence")
        np.testing.assert_array_equal(read.targets.numpy(), whole.targets.numpy())
        # The audio comes from the shards of the first taxonomy.
        assert {Path(shard).parent.name for shard in read.shards} == {"ekman"}


def test_webdataset_joins_both_as_documented(built: Path, outputs: tuple[Path, Path]):
    """The function in docs/loaders.md gives the samples that relabelled shards have."""
    import webdataset

    document = (Path(__file__).parents[2] / "docs" / "loaders.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```python\n(import glob\n[^`]*^def labelled\([^`]*?)^shards = ", document, re.MULTILINE)
    names: dict = {}
    exec(recipe, names)
    shards, whole = (sorted(map(str, output.glob("shards/*/*.tar"))) for output in (built, outputs[0]))
    join = partial(names["labelled"], folder=str(outputs[1] / "shards" / "valence"))
    joined = list(webdataset.WebDataset(shards, shardshuffle=False).compose(join))
    expected = list(webdataset.WebDataset(whole, shardshuffle=False))
    members = ("__key__", "flac", "cls", "json")
    assert len(joined) == 10
    assert [[sample[name] for name in members] for sample in joined] == [
        [sample[name] for name in members] for sample in expected
    ]


def test_samples_that_a_sidecar_does_not_label_are_left_out(built: Path, outputs: tuple[Path, Path], tmp_path: Path):
    shards = find_shards([str(built)], "train")
    sidecars = find_shards([str(outputs[1])], "train")
    whole = read_index(shards, sidecars)
    some = read_index(shards, sidecars[:1])
    assert 0 < len(some.keys) < len(whole.keys) and set(some.keys) < set(whole.keys)
    assert len(some.shards) == 1 and some.counts == (len(some.keys),)


def test_a_run_with_a_sidecar_is_that_with_the_shards(built: Path, outputs: tuple[Path, Path], tmp_path: Path, lanser):
    losses = []
    for name, places in (("whole", (outputs[0],)), ("beside", (built, "--sidecar", outputs[1]))):
        done = lanser(
            "pretrain", "--shards", *places, "--output", tmp_path / name, "--backbone", "resnet10-half",
            "--device", "cpu", "--batch-size", 4, "--crop-s", 0.4, "--epochs", 1, "--in-process",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) > 0
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("pretrain --shards SIDECAR --output OUT", "has no .flac; give shards of lanser build"),
        ("pretrain --shards BUILT --sidecar EMPTY --output OUT", "no shards (.tar)"),
        ("pretrain --shards BUILT --sidecar OTHER --output OUT", "labels no sample of"),
        ("sample SIDECAR --output OUT/x.csv", "has no audio beside it; a sidecar is read beside its shards"),
        ("export-shards SIDECAR --to lhotse --output OUT", "is not one sample of cls, flac, json"),
        ("relabel --shards SIDECAR --taxonomy TAXONOMY --output OUT", ".flac beside it; name shards that lanser wrote"),
    ],
)
def test_who_needs_the_audio_says_so(
    built: Path, outputs: tuple[Path, Path], taxonomy: Path, tmp_path: Path, lanser, command: str, part: str
):
    other = tmp_path / "other"
    other.mkdir()
    with (
        tarfile.open(min(outputs[1].glob("shards/valence/train-*.tar"))) as archive,
        tarfile.open(other / "train-00000-of-00001.tar", "w") as renamed,
    ):
        member = next(member for member in archive if member.name.endswith(".json"))
        content = archive.extractfile(member)
        member.name = f"{'f' * 16}.json"
        renamed.addfile(member, content)
    (tmp_path / "empty").mkdir()
    places = {"SIDECAR": outputs[1], "BUILT": built, "EMPTY": tmp_path / "empty", "OTHER": other, "TAXONOMY": taxonomy}
    words = [str(places.get(word, word)).replace("OUT", str(tmp_path / "out")) for word in command.split()]
    done = lanser(*words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert part in line


def test_load_shards_refuses_a_sidecar(outputs: tuple[Path, Path]):
    import lanser

    with pytest.raises(lanser.InputError, match="has no audio; a sidecar is read beside its shards"):
        next(lanser.load_shards(outputs[1], "valence"))
