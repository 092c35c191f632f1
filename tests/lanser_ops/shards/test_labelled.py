"""Weak labels read from shards: what is not one of this lanser's is refused in one line."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.shards.labelled import read_labelled_samples

KEY = "00112233aabbccdd"
FIELDS = {
    "taxonomy": "moods", "labels": ["joy", "fear", "neutral"], "hypotheses": [["happy", "glad"], ["afraid"], []],
    "templates": ["{}"], "nli_model": "tiny", "nli_sha256": "0" * 64, "against": "all", "prior": "corpus",
    "prior_strength": 0.4, "neutral_threshold": -0.5, "temperature": 1.5, "key": KEY, "text": "hm", "label_index": 1,
    "score": 0.6, "margin": 0.3, "entailment": [0.1, 0.7, 0.3], "flags": ["repetition"],
}  # fmt: skip


def write_tar(folder: Path, members: dict[str, bytes], name: str = "train-00000-of-00002.tar") -> Path:
    with tarfile.open(folder / name, "w") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder / name


def members(**changed) -> dict[str, bytes]:
    fields = {name: value for name, value in (FIELDS | changed).items() if value is not None}
    return {f"{KEY}.cls": b"1", f"{KEY}.flac": b"fLaC and so on", f"{KEY}.json": json.dumps(fields).encode()}


def test_a_sample_and_how_it_was_labelled(tmp_path: Path):
    path = write_tar(tmp_path, members())
    scoring, (sample,) = read_labelled_samples(str(tmp_path), None)
    assert scoring.fitted_on.labels == ("joy", "fear", "neutral") and scoring.absence == 2
    assert (scoring.prior, scoring.prior_strength) == ("corpus", 0.4)
    assert (scoring.neutral_threshold, scoring.temperature) == (-0.5, 1.5)
    assert (sample.key, sample.text, sample.label_index, sample.flagged) == (KEY, "hm", 1, True)
    assert (sample.score, sample.margin) == (0.6, 0.3)
    assert sample.entailment.tolist() == np.array([0.1, 0.7, 0.3], np.float32).tolist()
    content = path.read_bytes()[sample.flac_offset : sample.flac_offset + sample.flac_bytes]
    assert content == b"fLaC and so on"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"temperature": None}, "there is no 'temperature'"),
        ({"temperature": 0}, "a number is out of range"),
        ({"score": "high"}, "could not convert string to float: 'high'"),
        ({"text": 5}, "its text is not a text"),
        ({"labels": ["joy", 5, "neutral"]}, "a name is not a text"),
        ({"label_index": 3}, "3 is not in range"),
        ({"entailment": [0.1, 0.7]}, "not one score from 0 to 1 for each label"),
        ({"entailment": [0.1, 0.7, 1.5]}, "not one score from 0 to 1 for each label"),
    ],
)
def test_a_sample_of_another_program_is_refused(tmp_path: Path, changed: dict, reason: str):
    path = write_tar(tmp_path, members(**changed))
    with pytest.raises(InputError) as refused:
        read_labelled_samples(str(tmp_path), None)
    assert str(refused.value) == (f"{path}: {KEY}.json: not a weak label of this lanser ({reason}); relabel the shards")


def test_a_sample_without_audio_and_a_broken_tar_are_refused(tmp_path: Path):
    path = write_tar(tmp_path, {f"{KEY}.json": members()[f"{KEY}.json"]})
    with pytest.raises(InputError, match="has no audio beside it; a sidecar is read beside its shards"):
        read_labelled_samples(str(tmp_path), None)
    path.write_bytes(b"no tar")
    with pytest.raises(InputError, match=f"^{path}: not a weak label of this lanser"):
        read_labelled_samples(str(tmp_path), None)


def test_shards_that_do_not_belong_together_are_refused(tmp_path: Path):
    first = write_tar(tmp_path, members())
    second = tmp_path / "train-00001-of-00002.tar"
    shutil.copy(first, second)
    with pytest.raises(InputError) as refused:
        read_labelled_samples(str(tmp_path), None)
    assert str(refused.value) == f"{second}: {KEY} is also in {first}; name the shards of one build"
    write_tar(tmp_path, members(temperature=2.0), second.name)
    with pytest.raises(InputError) as refused:
        read_labelled_samples(str(tmp_path), None)
    assert str(refused.value) == (
        f"{second}: its labels were chosen with other options than those before; relabel them"
    )
