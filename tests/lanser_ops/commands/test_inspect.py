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
    "score": 0.6,
    "margin": 0.25,
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
    assert inspect.main([path, "--limit", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "",
        f"{path}: 3 samples; joy 2, fear 1",
        "  00112233aabbccdd    2.5 s  'what a day'",
        "    joy: score 0.600, margin 0.250; entailment joy 0.90, calm 0.75, fear 0.20",
    ]


def test_the_scores_of_the_voice_are_shown(tmp_path, capsys):
    voice = {"speech_labels": ["sad", "happy"], "speech_scores": [0.25, 0.75]}
    path = write_tar(tmp_path / "train-00000-of-00001.tar", {"a.json": sample(**voice)})
    assert inspect.main([path]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "    joy: score 0.600, margin 0.250; entailment joy 0.90, calm 0.75, fear 0.20",
        "    voice: happy 0.75, sad 0.25",
    ]


@pytest.fixture
def shards(tmp_path) -> str:
    """An output directory with two shards of ekman, and one of another taxonomy."""
    margins = {"joy": (0.1, 0.5, 0.3), "fear": (0.2, 0.4)}
    for taxonomy, split in (("ekman", "train"), ("ekman", "val"), ("mine", "train")):
        folder = tmp_path / "shards" / taxonomy
        folder.mkdir(parents=True, exist_ok=True)
        samples = {
            f"{label}{number}.json": sample(key=f"{split}-{label}-{number}", label=label, margin=margin)
            for label, values in margins.items()
            for number, margin in enumerate(values)
        }
        write_tar(folder / f"{split}-00000-of-00001.tar", samples)
    return str(tmp_path)


def keys(printed: str) -> list[str]:
    return [line.split()[0] for line in printed.splitlines() if line.startswith("  train") or line.startswith("  val")]


def test_samples_of_a_label_are_sorted_over_all_shards(shards, capsys):
    argv = [shards, "--taxonomy", "ekman", "--label", "joy", "--sort", "margin", "--limit", "3"]
    assert inspect.main(argv) == 0
    printed = capsys.readouterr().out
    assert f"{shards}: 10 samples; joy 6, fear 4\n3 of 6 samples of joy, the highest margin first\n" in printed
    assert keys(printed) == ["train-joy-1", "val-joy-1", "train-joy-2"]
    assert inspect.main([*argv, "--lowest"]) == 0
    assert keys(capsys.readouterr().out) == ["train-joy-0", "val-joy-0", "train-joy-2"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--label", "joi", "--taxonomy", "ekman"],
         "--label joi: no label of these shards (anger, calm, fear, joy); did you mean joy?"),
        (["--label", "joy"], "{}: has shards of ekman, mine; choose with --taxonomy"),
        (["--taxonomy", "ekmann"], "{}: no shards of 'ekmann' (there are ekman, mine); did you mean ekman?"),
        (["--lowest"], "--lowest: of what? add --sort score or --sort margin"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused_with_a_suggestion(shards, capsys, argv, message):
    assert inspect.main([shards, *argv]) == 2
    assert capsys.readouterr().err == f"lanser inspect: {message.format(shards)}\n"


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
        ({"a.json": sample(labels=None)}, "TypeError"),
        ({"a.json": sample(margin="wide")}, "ValueError"),
        ({"a.json": sample(duration_s="long")}, "ValueError"),
        ({"a.json": sample(entailment=[0.5])}, "ValueError"),
    ],
)
def test_a_tar_that_is_not_a_shard_is_refused_in_one_line(tmp_path, capsys, members, reason):
    path = write_tar(tmp_path / "other.tar", members)
    assert inspect.main([path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lanser inspect: {path}: not a shard of lanser (") and reason in line


def test_control_characters_of_a_sample_do_not_reach_the_terminal(tmp_path, capsys):
    label = "joy\x1b[2J"
    fields = {"label": label, "labels": [label, "fear"], "entailment": [0.5, 0.25], "key": "k\x07"}
    path = write_tar(tmp_path / "other.tar", {"a.json": sample(**fields)})
    assert inspect.main([path]) == 0
    printed = capsys.readouterr().out
    assert "joy\N{REPLACEMENT CHARACTER}[2J" in printed
    assert all(char.isprintable() or char == "\n" for char in printed)


def test_a_member_that_claims_more_than_the_tar_holds(tmp_path, capsys):
    path = write_tar(tmp_path / "other.tar", {"a.json": sample()})
    with open(path, "r+b") as stream:
        header = bytearray(stream.read(512))
        header[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        stream.seek(0)
        stream.write(header)
    assert inspect.main([path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"lanser inspect: {path}: not a shard of lanser (BrokenTar: a.json claims 1152921504606846976 "
    )


def test_a_folder_without_output_is_refused(tmp_path, capsys):
    assert inspect.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"lanser inspect: {tmp_path}: neither an output directory of lanser nor a shard\n"
    )
