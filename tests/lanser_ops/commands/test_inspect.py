"""``lanser inspect``: shards, and what is not one."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from lanser_ops.commands import inspect

FIELDS = {
    "key": "00112233aabbccdd",
    "label": "joy",
    "labels": ["joy", "fear", "calm", "anger"],
    "entailment": [0.9, 0.2, 0.75, 0.1],
    "duration_s": 2.5,
    "text": "what a day",
}


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def sample(**changed) -> bytes:
    return json.dumps(FIELDS | changed).encode()


def test_a_shard_is_shown_with_its_best_scores(tmp_path, capsys):
    members = {"a.cls": b"0", "a.json": sample(), "b.json": sample(label="fear"), "c.json": sample(text="again")}
    path = write_tar(tmp_path / "train-00000-of-00001.tar", members)
    assert inspect.main([path, "--samples", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "",
        f"{path}: 3 samples; joy 2, fear 1",
        "  00112233aabbccdd    2.5 s  'what a day'",
        "    joy 0.90, calm 0.75, fear 0.20",
    ]


def test_the_scores_of_the_voice_are_shown(tmp_path, capsys):
    voice = {"speech_labels": ["sad", "happy"], "speech_scores": [0.25, 0.75]}
    path = write_tar(tmp_path / "train-00000-of-00001.tar", {"a.json": sample(**voice)})
    assert inspect.main([path]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "    joy 0.90, calm 0.75, fear 0.20",
        "    voice: happy 0.75, sad 0.25",
    ]


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in FIELDS.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "it has no <key>.json"),
        ({"a.wav": b"RIFF"}, "it has no <key>.json"),
        ({"a.json": b"{"}, "JSONDecodeError"),
        ({"a.json": b"[]"}, "TypeError"),
        ({"a.json": without("label")}, "KeyError: 'label'"),
        ({"a.json": without("entailment")}, "KeyError: 'entailment'"),
        ({"a.json": sample(label=["joy"])}, "TypeError"),
        ({"a.json": sample(duration_s="long")}, "ValueError"),
        ({"a.json": sample(entailment=[0.5])}, "ValueError"),
    ],
)
def test_a_tar_that_is_not_a_shard_is_refused_in_one_line(tmp_path, capsys, members, reason):
    path = write_tar(tmp_path / "other.tar", members)
    assert inspect.main([path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lanser inspect: {path}: not a shard of lanser (") and reason in line


def test_a_folder_without_output_is_refused(tmp_path, capsys):
    assert inspect.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"lanser inspect: {tmp_path}: neither an output directory of lanser nor a shard\n"
    )
