"""Tars byte by byte: the same as tarfile's, and read back however they were written or damaged."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from lanser_ops import tar
from lanser_ops.tar import BrokenTar, Member, header, read_members, write_tar


def tarfile_bytes(members: list[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT, **fields) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


MEMBERS = [("a.cls", b"3"), ("a.flac", b"x" * 512), ("a.json", b"{}" * 700), ("empty.txt", b"")]


@pytest.mark.parametrize(("name", "size"), [("a.cls", 1), ("0123456789abcdef.flac", 987_654), ("x" * 100, 8**11 - 1)])
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    assert header(name.encode(), size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_a_tar_is_that_of_tarfile_whatever_it_is_written_to(tmp_path: Path, monkeypatch, count):
    monkeypatch.setattr(tar, "CHUNK_BYTES", 5000)
    members = [(f"{n:04d}.bin", os.urandom(37 * n)) for n in range(count)]
    expected = tarfile_bytes(members)
    for stream in (io.BytesIO(), (tmp_path / "a.tar").open("wb+")):
        write_tar(stream, [(name.encode(), content) for name, content in members])
        stream.seek(0)
        assert stream.read() == expected


def test_views_of_another_file(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tar, "CHUNK_BYTES", 3000)
    content = os.urandom(100_000)
    ranges = [(0, 700), (700, 800), (90_000, 900), (5, 1), (20_000, 30_000), (99_999, 1), (10, 0)]
    with (tmp_path / "a.tar").open("wb+") as stream:
        view = memoryview(content)
        write_tar(stream, [(b"%d" % n, view[start : start + size]) for n, (start, size) in enumerate(ranges)])
        stream.seek(0)
        expected = [(str(n), content[start : start + size]) for n, (start, size) in enumerate(ranges)]
        assert stream.read() == tarfile_bytes(expected)


def test_an_error_half_way_leaves_no_complete_tar(monkeypatch):
    monkeypatch.setattr(tar, "CHUNK_BYTES", 1)
    stream = io.BytesIO()

    def members():
        yield b"a", b"1"
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        write_tar(stream, members())
    with pytest.raises(BrokenTar):
        list(read_members(io.BytesIO(stream.getvalue())))


def contents(data: bytes) -> list[tuple[str, bytes]]:
    stream = io.BytesIO(data)
    members = []
    for member in read_members(stream):
        stream.seek(member.offset)
        members.append((member.name, stream.read(member.size)))
    return members


def test_members_are_read_back():
    assert contents(tarfile_bytes(MEMBERS)) == MEMBERS
    assert list(read_members(io.BytesIO(tarfile_bytes(MEMBERS[:2])))) == [
        Member("a.cls", 512, 1),
        Member("a.flac", 1536, 512),
    ]
    assert contents(tarfile_bytes([])) == []


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_other_writers_are_read_too(format):
    long = [("a.cls", b"3"), ("folder/" + "é" * 80 + ".json", b"{}"), ("a.flac", b"x")]
    names = long if format != tarfile.USTAR_FORMAT else MEMBERS
    assert contents(tarfile_bytes(names, format, mtime=1.5e9, uname="me", mode=0o600)) == names


def test_only_regular_files_count():
    data = tarfile_bytes(MEMBERS[:1])[:1024]
    link = tarfile_bytes([("link", b"")], type=tarfile.SYMTYPE, linkname="/etc/passwd")[:512]
    folder = tarfile_bytes([("folder", b"")], type=tarfile.DIRTYPE)[:512]
    assert contents(data + link + folder + tarfile_bytes(MEMBERS[1:])) == MEMBERS


@pytest.mark.parametrize("size", [0, 100, 512, 700, 1024, 1536, 1600, 2048])
def test_a_tar_that_was_cut_off_is_broken(size):
    data = tarfile_bytes([("a.cls", b"3"), ("a.flac", b"x" * 600)])  # 512 + 512 + 512 + 1024, then the end
    with pytest.raises(BrokenTar):
        contents(data[:size])


def test_a_damaged_header_is_not_the_end():
    data = bytearray(tarfile_bytes(MEMBERS))
    data[1024 + 124] ^= 1
    with pytest.raises(BrokenTar, match="no end of the archive after 1024 bytes"):
        contents(bytes(data))
    with pytest.raises(BrokenTar):
        contents(b"<html>not a tar</html>" * 1000)
