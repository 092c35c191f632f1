"""Folders as they are found on disks: links, circles, closed folders, pipes, names that are not UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lanser_ops.corpus.folders import files_below, on_disk, printable


def is_wav(name: str) -> bool:
    return name.endswith(".wav")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)


def below(folder: Path) -> dict[str, int]:
    """`files_below` by relative name."""
    return {path[len(str(folder)) + 1 :]: size for path, size in files_below(str(folder), is_wav).items()}


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    touch(tmp_path / "elsewhere" / "b.wav")
    touch(tmp_path / "in" / "sub" / "a.wav")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "sub")  # the folder's own name wins
    (tmp_path / "in" / "itself").symlink_to(tmp_path / "in" / "itself")
    assert below(tmp_path / "in") == {"sub/a.wav": 10, "linked/b.wav": 10}


def test_what_cannot_be_read_is_listed_with_size_0(tmp_path, monkeypatch):
    touch(tmp_path / "a.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    touch(tmp_path / "closed" / "b.wav")
    touch(tmp_path / ".hidden" / "c.wav")
    scandir = os.scandir

    def refuse(path):  # modes do not close a folder to root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert below(tmp_path) == {"a.wav": 10, "closed": 0, "gone.wav": 0, "pipe.wav": 0}
    with pytest.raises(PermissionError):
        files_below(str(tmp_path / "closed"), is_wav)


def test_names_that_are_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.wav")
    (tmp_path / name).write_bytes(b"x")
    assert printable(name) == r"caf\xe9 é.wav"
    assert on_disk(f"{tmp_path}/{printable(name)}") == f"{tmp_path}/{name}"
    touch(tmp_path / r"caf\xe9 é.wav")
    assert on_disk(f"{tmp_path}/{printable(name)}") == f"{tmp_path}/{printable(name)}"
