"""What passes between a process and its decoder: a kind of one byte, a length, and the content."""

from __future__ import annotations

import struct
from typing import BinaryIO

HEADER = struct.Struct("<cQ")
POSITION = struct.Struct("<QQ")  # a position in the stream, and how many bytes from there
JOB = struct.Struct("<Qd")  # the size of the stream in bytes, and the most seconds for a block

SECONDS = struct.Struct("<d")

# To the decoder: a stream to decode, one whose length is to be read, bytes of it, go on, stop.
DECODE, MEASURE, BYTES, NEXT, STOP = b"D", b"M", b"Y", b"N", b"S"
# From the decoder: ready for the first stream, a request for bytes, a block (of samples, or the length), the end, an
# error (reason, NUL, detail).
READY, READ, BLOCK, END, ERROR = b"H", b"R", b"B", b"F", b"E"


def send(stream: BinaryIO, kind: bytes, content: bytes | memoryview = b"") -> None:
    stream.write(HEADER.pack(kind, len(content)))
    stream.write(content)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[bytes, bytes]:
    """The next message's kind and content. Raises EOFError if the other side is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    kind, length = HEADER.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return kind, content
