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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
# Written at once: enough that a system call does not count, and little enough to write beside the making.
CHUNK_BYTES = 2 << 20
# Pieces that one system call takes (IOV_MAX on Linux is 1024).
MAX_WRITTEN = 1000
Buffer = bytes | memoryview

_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_TEMPLATE = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_BEFORE_SIZE = _TEMPLATE[_NAME.stop : _SIZE.start]
_AFTER_SIZE = _TEMPLATE[_SIZE.stop : _CHECKSUM.start]
_AFTER_CHECKSUM = _TEMPLATE[_CHECKSUM.stop :]
# The checksum counts its own field as spaces.
_TEMPLATE_SUM = sum(_BEFORE_SIZE + _AFTER_SIZE + _AFTER_CHECKSUM + b" " * 8)
_ZEROS = bytes(BLOCK)
_FILL = [bytes(count) for count in range(BLOCK)]


class BrokenTar(Exception):
    """A tar that does not go on as a tar must; the text says where."""


@dataclass(frozen=True)
class Member:
    """A regular file in a tar: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


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


def is_end(stream: BinaryIO, offset: int) -> bool:
    """Whether the archive ends there: `tarfile` takes a damaged header for the end, a real one is a block of zeros."""
    return _block(stream, offset) == _ZEROS


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
    if not is_end(stream, end):
        raise BrokenTar(f"no end of the archive after {end} bytes")


def write_tar(stream: BinaryIO, members: Iterable[tuple[bytes, Buffer]]) -> None:
    """Write (name, content) members as a whole tar.

    The next members are made in a thread of their own while the last ones are written; content that is a view
    of a mapped file is never copied in between. An error half-way leaves the tar without its end, so that nobody
    takes it for a whole one.
    """
    chunks = _chunks(members)
    with ThreadPoolExecutor(1, thread_name_prefix="tar-members") as pool:
        # This way round: a write lets go of the interpreter at once, making things lets go after 5 ms.
        making = pool.submit(next, chunks, None)
        while (pieces := making.result()) is not None:
            making = pool.submit(next, chunks, None)
            _write(stream, pieces)


def _chunks(members: Iterable[tuple[bytes, Buffer]]) -> Iterator[list[Buffer]]:
    """The tar in pieces, about CHUNK_BYTES at a time; its end is a part of the last."""
    pieces: list[Buffer] = []
    done = waiting = 0
    for name, content in members:
        size = len(content)
        fill = -size % BLOCK
        pieces += (header(name, size), content, _FILL[fill])
        waiting += BLOCK + size + fill
        if waiting >= CHUNK_BYTES or len(pieces) >= MAX_WRITTEN:
            yield pieces
            done += waiting
            pieces, waiting = [], 0
    pieces.append(bytes(2 * BLOCK + -(done + waiting + 2 * BLOCK) % tarfile.RECORDSIZE))
    yield pieces


def _write(stream: BinaryIO, pieces: list[Buffer]) -> None:
    if not isinstance(getattr(stream, "raw", None), io.FileIO):  # only a local file has a descriptor
        stream.write(b"".join(pieces))
        return
    written = os.writev(stream.fileno(), pieces)
    if written < sum(map(len, pieces)):  # a disk that is full says so when asked again
        stream.write(b"".join(pieces)[written:])
        stream.flush()
