"""Tars, member by member: lanser's own on a fast path, those of other writers through `tarfile`.

A header that lanser writes is plain ustar without times and owners: only name, size and checksum differ. Making it
from a template takes a tenth of the time of `tarfile`, which matters where a shard is rewritten at the speed of a copy.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, cast

from lanser_ops.common.errors import legible

BLOCK = tarfile.BLOCKSIZE
# Bytes per write: enough to make the system call negligible, few enough to overlap writing with making the next.
CHUNK_BYTES = 2 << 20
# Buffers per system call (IOV_MAX on Linux is 1024).
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
    """A tar that is damaged or ends too early; the text says where."""


@dataclass(frozen=True)
class Member:
    """A regular file in a tar: ``size`` bytes at ``offset``."""

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


class _Bounded:
    """A stream that reads no further than its end: `tarfile` allocates whatever size a header claims."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.size = stream.seek(0, io.SEEK_END)
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        return self._stream.read(max(0, min(size, self.size - self.tell())))

    def check(self, member: Member) -> Member:
        """``member``, if it lies in the tar."""
        if member.size < 0 or member.offset + member.size > self.size:
            claim = f"{legible(member.name)} claims {member.size} bytes from {member.offset}"
            raise BrokenTar(f"{claim}; the tar has {self.size}")
        return member


def read_members(stream: BinaryIO) -> Iterator[Member]:
    """The regular files of a tar, in order; the caller may seek in ``stream`` between two of them.

    Every member lies within the tar, whatever its header claims. Raises BrokenTar for a tar that is cut off or damaged,
    and for anything else that is not a tar.
    """
    bounded = _Bounded(stream)
    offset = 0
    while len(block := _block(stream, offset)) == BLOCK:
        name, size = block[_NAME].rstrip(b"\0"), block[_SIZE][:-1]
        if not size.isdigit() or block != header(name, int(size, 8)):
            break
        member = bounded.check(Member(name.decode("utf-8", "surrogateescape"), offset + BLOCK, int(size, 8)))
        yield member
        offset = member.offset + member.size + -member.size % BLOCK
    yield from _foreign_members(bounded, offset)


def read_content(stream: BinaryIO, member: Member, most: int | None = None) -> bytes:
    """The content of a member of the tar ``stream``, or its first ``most`` bytes."""
    stream.seek(member.offset)
    return stream.read(member.size if most is None else min(member.size, most))


def _block(stream: BinaryIO | _Bounded, offset: int) -> bytes:
    stream.seek(offset)
    return stream.read(BLOCK)


def _foreign_members(stream: _Bounded, offset: int) -> Iterator[Member]:
    """The members from ``offset`` on, the first of which has a header that lanser did not write."""
    stream.seek(offset)
    try:
        with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:") as tar:
            for info in tar:
                # Of any kind: a negative size would make tarfile go back and read the same headers for ever.
                member = stream.check(Member(info.name, info.offset_data, 0 if info.issparse() else info.size))
                if info.isreg() and not info.issparse():
                    yield member
            end = tar.offset
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise BrokenTar(" ".join(str(error).split())) from None
    if _block(stream, end) != _ZEROS:  # `tarfile` takes a damaged header for the end
        raise BrokenTar(f"no end of the archive after {end} bytes")


def write_tar(stream: BinaryIO, members: Iterable[tuple[bytes, Buffer]]) -> tuple[int, str]:
    """Write (name, content) members as a complete tar; returns its size in bytes and its SHA-256, in hexadecimal.

    The next members are made in a thread while the previous ones are written; content that is a view of a mapped file
    is never copied in between. An error half-way leaves the tar without its end, so that no reader takes it for a
    complete one.
    """
    chunks = _chunks(members)
    size, content_hash = 0, hashlib.sha256()
    with ThreadPoolExecutor(1, thread_name_prefix="tar-members") as pool:
        # Members are made in the thread, not written: a write releases the interpreter lock at once, Python code only
        # after 5 ms.
        next_chunk = pool.submit(next, chunks, None)
        while (pieces := next_chunk.result()) is not None:
            next_chunk = pool.submit(next, chunks, None)
            _write(stream, pieces)
            for piece in pieces:
                size += len(piece)
                content_hash.update(piece)
    return size, content_hash.hexdigest()


def is_whole(stream: BinaryIO, size: int) -> bool:
    """Whether a tar that lanser wrote, of ``size`` bytes, has its end: a look at the last blocks alone."""
    stream.seek(max(0, size - 2 * BLOCK))
    return size > 0 and size % tarfile.RECORDSIZE == 0 and stream.read() == _ZEROS * 2


def _chunks(members: Iterable[tuple[bytes, Buffer]]) -> Iterator[list[Buffer]]:
    """The tar as lists of buffers, each of about CHUNK_BYTES; the end of the archive is in the last."""
    pieces: list[Buffer] = []
    done = pending = 0
    for name, content in members:
        size = len(content)
        fill = -size % BLOCK
        pieces += (header(name, size), content, _FILL[fill])
        pending += BLOCK + size + fill
        if pending >= CHUNK_BYTES or len(pieces) >= MAX_WRITTEN:
            yield pieces
            done += pending
            pieces, pending = [], 0
    pieces.append(bytes(2 * BLOCK + -(done + pending + 2 * BLOCK) % tarfile.RECORDSIZE))
    yield pieces


def _write(stream: BinaryIO, pieces: list[Buffer]) -> None:
    if not isinstance(getattr(stream, "raw", None), io.FileIO):  # only a local file has a descriptor
        stream.write(b"".join(pieces))
        return
    written = os.writev(stream.fileno(), pieces)
    if written < sum(map(len, pieces)):  # a full disk reports its error at the next write
        stream.write(b"".join(pieces)[written:])
        stream.flush()
