"""Tars, member by member: those that lanser writes fast, those of others through `tarfile`.

A header of lanser's is plain ustar without times and owners: name, size and checksum are all that differs.
Making it from a template takes a tenth of the time that `tarfile` takes, which matters where a shard is
rewritten at the speed of a copy.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
# Written at once. Above 1 MB CPython joins pieces without holding its lock.
CHUNK_BYTES = 2 << 20

# Pieces that one system call takes (IOV_MAX on Linux is 1024).
MAX_WRITTEN = 1000

_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_TEMPLATE = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_BEFORE_SIZE = _TEMPLATE[_NAME.stop : _SIZE.start]
_AFTER_SIZE = _TEMPLATE[_SIZE.stop : _CHECKSUM.start]
_AFTER_CHECKSUM = _TEMPLATE[_CHECKSUM.stop :]
# The checksum counts its own field as spaces.
_TEMPLATE_SUM = sum(_BEFORE_SIZE + _AFTER_SIZE + _AFTER_CHECKSUM + b" " * 8)
_ZEROS = bytes(BLOCK)


class BrokenTar(Exception):
    """A tar that does not go on as a tar must; the text says where."""


@dataclass(frozen=True)
class Member:
    """A regular file in a tar: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Stretch:
    """Content of a member that lies in another file, and goes from there into the tar as it is."""

    stream: BinaryIO
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size


def header(name: bytes, size: int) -> bytes:
    """The header block of a regular file: ``tarfile.TarInfo(name).tobuf(USTAR_FORMAT)``, byte for byte.

    ``name`` is at most 100 bytes, ``size`` less than 8 GiB.
    """
    octal = b"%011o" % size
    checksum = _TEMPLATE_SUM + sum(name) + sum(octal)
    return b"%b%b%b\0%b%06o\0 %b" % (
        name.ljust(100, b"\0"),
        _BEFORE_SIZE,
        octal,
        _AFTER_SIZE,
        checksum,
        _AFTER_CHECKSUM,
    )


def read_members(stream: BinaryIO) -> Iterator[Member]:
    """The regular files of a tar, in order; ``stream`` may be moved between two of them.

    Raises BrokenTar where the tar ends before its end, or is none.
    """
    offset = 0
    while len(block := _block(stream, offset)) == BLOCK:
        name, size = block[_NAME].rstrip(b"\0"), block[_SIZE][:-1]
        if not size.isdigit() or block != header(name, int(size, 8)):
            break
        member = Member(name.decode("utf-8", "surrogateescape"), offset + BLOCK, int(size, 8))
        yield member
        offset = member.offset + member.size + -member.size % BLOCK
    yield from _foreign_members(stream, offset)


def _block(stream: BinaryIO, offset: int) -> bytes:
    stream.seek(offset)
    return stream.read(BLOCK)


def _foreign_members(stream: BinaryIO, offset: int) -> Iterator[Member]:
    """What follows from ``offset`` on: members whose headers lanser did not write, and the end."""
    stream.seek(offset)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield Member(member.name, member.offset_data, member.size)
            end = tar.offset
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BrokenTar(" ".join(str(error).split())) from None
    # tarfile takes a damaged header for the end of the archive; a real end is a block of zeros.
    if _block(stream, end) != _ZEROS:
        raise BrokenTar(f"no end of the archive after {end} bytes")


def write_tar(stream: BinaryIO, members: Iterable[tuple[bytes, bytes | Stretch]]) -> None:
    """Write (name, content) members as a whole tar.

    What is made goes out in a thread of its own, beside the making of the next. An error half-way leaves the
    tar without its end, so that nobody takes it for a whole one.
    """
    windows = bytearray(2 * CHUNK_BYTES), bytearray(2 * CHUNK_BYTES)
    with ThreadPoolExecutor(1, thread_name_prefix="tar-writer") as pool:
        writing: Future | None = None
        for pieces, window in zip(_chunks(members), cycle(windows)):
            views = _read(pieces, window)
            if writing is not None:
                writing.result()
            writing = pool.submit(_write, stream, views)
        writing.result()


def _chunks(members: Iterable[tuple[bytes, bytes | Stretch]]) -> Iterator[list[bytes | Stretch]]:
    """The tar in pieces, about CHUNK_BYTES at a time; its end is a chunk of its own or part of the last."""
    pieces: list[bytes | Stretch] = []
    small: list[bytes] = []
    done = waiting = 0
    for name, content in members:
        small.append(header(name, len(content)))
        if isinstance(content, Stretch):
            pieces += (b"".join(small), content)
            small = []
        else:
            small.append(content)
        small.append(_ZEROS[: -len(content) % BLOCK])
        waiting += BLOCK + len(content) + -len(content) % BLOCK
        if waiting >= CHUNK_BYTES:
            yield [*pieces, b"".join(small)]
            done += waiting
            pieces, small, waiting = [], [], 0
    end = 2 * BLOCK + -(done + waiting + 2 * BLOCK) % tarfile.RECORDSIZE
    yield [*pieces, b"".join(small), bytes(end)]


def _read(pieces: list[bytes | Stretch], window: bytearray) -> list[bytes | memoryview]:
    """``pieces`` with the content of the stretches, read into ``window``.

    Those that lie close together, as in a tar that is written anew, are read at once.
    """
    stretches = [piece for piece in pieces if isinstance(piece, Stretch)]
    start = min((one.offset for one in stretches), default=0)
    length = max((one.offset + one.size for one in stretches), default=0) - start
    near = length <= len(window)
    needed = length if near else sum(one.size for one in stretches)
    view = memoryview(window if needed <= len(window) else bytearray(needed))
    if near and stretches:
        _fill(view[:length], stretches[0].stream, start)
    views: list[bytes | memoryview] = []
    at = 0
    for piece in pieces:
        if not isinstance(piece, Stretch):
            views.append(piece)
            continue
        if near:
            at = piece.offset - start
        views.append(view[at : at + piece.size])
        if not near:
            _fill(views[-1], piece.stream, piece.offset)
            at += piece.size
    return views


def _fill(view: memoryview, stream: BinaryIO, offset: int) -> None:
    stream.seek(offset)
    got = stream.readinto(view)
    if got != len(view):
        raise EOFError(f"{got} of {len(view)} bytes at {offset}: the file has become shorter")


def _write(stream: BinaryIO, views: list[bytes | memoryview]) -> None:
    if not isinstance(stream, io.BufferedWriter):
        stream.write(b"".join(views))
        return
    for first in range(0, len(views), MAX_WRITTEN):
        some = views[first : first + MAX_WRITTEN]
        written = os.writev(stream.fileno(), some)
        if written < sum(map(len, some)):  # a disk that is full says so when asked again
            stream.write(b"".join(some)[written:])
            stream.flush()
