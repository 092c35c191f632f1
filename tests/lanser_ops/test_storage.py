"""Files appear whole or not at all, and only ours are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanser_ops import storage


def test_an_error_while_writing_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="in the middle"), storage.atomic_writer(str(tmp_path), "a/b.bin") as stream:
        stream.write(b"half")
        raise RuntimeError("in the middle")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path):
    with storage.atomic_writer(str(tmp_path), "a/b.bin") as stream:
        stream.write(b"half")
        assert not (tmp_path / "a" / "b.bin").exists()
        stream.write(b", whole")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"half, whole"


def test_an_error_of_the_disk_names_the_file(tmp_path: Path, small_files: None):
    with pytest.raises(OSError, match="File too large") as error:
        storage.write_bytes(str(tmp_path), "sub/x", bytes(1000))
    assert error.value.filename == f"{tmp_path}/sub/x"


def test_the_second_of_two_writers_replaces_the_first_whole(tmp_path: Path):
    with storage.atomic_writer(str(tmp_path), "x") as first:
        first.write(b"first")
        with storage.atomic_writer(str(tmp_path), "x") as second:
            second.write(b"second")
        assert (tmp_path / "x").read_bytes() == b"second"
    assert (tmp_path / "x").read_bytes() == b"first"


def test_reading_a_table_leaves_no_thread_behind(tmp_path: Path):
    """One of Arrow's own that still held the file would abort a command at its very end, now and then."""
    program = """
import os, sys, pyarrow
from lanser_ops import storage
storage.write_table(sys.argv[1], "t.parquet", pyarrow.table({name: range(1000) for name in "abc"}))
before = os.listdir("/proc/self/task")
storage.read_table(sys.argv[1] + "/t.parquet")
print(sorted(os.listdir("/proc/self/task")) == sorted(before))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_clear_temporary_removes_what_the_job_left_and_nothing_else(tmp_path: Path):
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp" / "0123-x-shards-x.tar").write_bytes(b"half")
    (tmp_path / ".tmp" / "4567-x-shards-y.tar").write_bytes(b"another job's")
    (tmp_path / "keep").write_bytes(b"")
    storage.clear_temporary(str(tmp_path), "0123")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".tmp", "4567-x-shards-y.tar", "keep"]
    storage.clear_temporary(str(tmp_path), "4567")
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_a_check_for_writing_leaves_another_jobs_files_alone(tmp_path: Path):
    with storage.atomic_writer(str(tmp_path), "x", "0123") as stream:
        stream.write(b"whole")
        storage.check_writable(str(tmp_path))
    assert (tmp_path / "x").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.wav", ["a.wav"]),
        ("**/*.wav", ["b/c.wav", "b/d/e.wav"]),
        ("b/*", ["b/c.wav", "b/f[1].flac"]),
        ("**.flac", ["b/f[1].flac"]),
        ("b/?.wav", ["b/c.wav"]),
        ("b/[!a].wav", ["b/c.wav"]),
        ("b/[abc].wav", ["b/c.wav"]),
        ("b/c.wa", []),
        ("b/.*", []),
    ],
)
def test_local_patterns_mean_what_beams_mean(tmp_path: Path, pattern: str, names: list[str]):
    from apache_beam.io.filesystems import FileSystems

    for name in ("a.wav", "b/c.wav", "b/d/e.wav", "b/f[1].flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    sizes = storage.match_glob(f"{tmp_path}/{pattern}")
    assert sizes == {f"{tmp_path}/{name}": 2 for name in names}
    (result,) = FileSystems.match([f"{tmp_path}/{pattern}"])
    files = {match.path: match.size_in_bytes for match in result.metadata_list if Path(match.path).is_file()}
    assert files == sizes


def test_exact_names_with_pattern_characters(tmp_path: Path):
    (tmp_path / "a[1].wav").write_bytes(b"12")
    (tmp_path / "a1.wav").write_bytes(b"1")
    assert storage.file_size(str(tmp_path / "a[1].wav")) == 2
    assert storage.file_size(str(tmp_path / "a?.wav")) is None
    assert storage.match_glob(str(tmp_path / "a[0-9].wav")) == {str(tmp_path / "a1.wav"): 1}


def test_delete_takes_empty_folders_along_but_no_others(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"")
    (tmp_path / "a" / "keep").write_bytes(b"")
    storage.delete_files([str(tmp_path / "a" / "b" / "x")], str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "keep"]


def test_a_job_writes_on_where_another_removes_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second job that is refused removes its probe, and the folder with it if that is empty at the moment."""
    makedirs, removed = os.makedirs, []

    def create_and_lose(path: str, exist_ok: bool = False) -> None:
        makedirs(path, exist_ok=exist_ok)
        if not removed:
            removed.append(path)
            os.rmdir(path)

    monkeypatch.setattr(os, "makedirs", create_and_lose)
    storage.write_bytes(str(tmp_path), "x", b"whole")
    assert removed == [str(tmp_path / ".tmp")] and (tmp_path / "x").read_bytes() == b"whole"


def test_delete_leaves_empty_folders_above_the_output(tmp_path: Path):
    output = tmp_path / "mine" / "out"
    storage.check_writable(str(output))
    assert (tmp_path / "mine").is_dir() and not output.exists()
