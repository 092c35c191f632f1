"""The process in which `lanser_ops.audio.guarded` decodes: ``python -m lanser_ops.audio.decoder_process``.

It has no files of its own: it asks for the bytes that FFmpeg wants to read, and sends blocks back. A time limit that
also ends native code is the system's alarm, whose default is to end the process.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

from lanser_ops.audio import messages
from lanser_ops.audio.decode import AudioError, decode
from lanser_ops.audio.header import stated_seconds

# Address space: some 0.5 GB are libraries, and a decoder holds a few blocks. What a header makes FFmpeg allocate beyond
# that fails there instead of taking the memory of the models.
MAX_MEMORY_BYTES = 2 << 30


class _AskedStream:
    """A stream whose bytes the other process reads; the alarm waits meanwhile."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO, size: int):
        self._requests, self._replies, self._size, self._position = requests, replies, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        rest = max(0, self._size - self._position)
        size = rest if size < 0 else min(size, rest)
        if not size:
            return b""
        remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        messages.send(self._replies, messages.READ, messages.POSITION.pack(self._position, size))
        _, content = messages.receive(self._requests)
        signal.setitimer(signal.ITIMER_REAL, max(remaining, 1e-6))
        self._position += len(content)
        return content


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Decode one stream after the other, until the other process is gone (EOFError)."""
    messages.send(replies, messages.READY)
    while True:
        kind, job = messages.receive(requests)
        size, seconds = messages.JOB.unpack(job)
        try:
            stream = cast(BinaryIO, _AskedStream(requests, replies, size))
            end = _send(_length(stream) if kind == messages.MEASURE else _samples(stream), requests, replies, seconds)
        except EOFError:
            raise
        except AudioError as error:
            end = messages.ERROR, f"{error.reason}\0{error.detail}"
        except MemoryError:
            end = messages.ERROR, f"too_large\0needs more than {MAX_MEMORY_BYTES >> 30} GB of memory to decode"
        except Exception as error:  # a fault of the decoder on a file that nobody has thought of
            end = messages.ERROR, f"decoder_died\0{type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        messages.send(replies, end[0], end[1].encode("utf-8", "replace"))


def _samples(stream: BinaryIO) -> Iterator[memoryview]:
    for block in decode(stream):
        yield block.data.cast("B")


def _length(stream: BinaryIO) -> Iterator[bytes]:
    yield messages.SECONDS.pack(stated_seconds(stream))


def _send(
    blocks: Iterator[bytes | memoryview], requests: BinaryIO, replies: BinaryIO, seconds: float
) -> tuple[bytes, str]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    for block in blocks:
        signal.setitimer(signal.ITIMER_REAL, 0)
        messages.send(replies, messages.BLOCK, block)
        kind, _ = messages.receive(requests)
        if kind == messages.STOP:
            break
        signal.setitimer(signal.ITIMER_REAL, seconds)
    return messages.END, ""


def main() -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit than this one is already in force
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing that a library prints may come between
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, replies)
    os._exit(0)  # without the flush of a pipe whose reader is gone


if __name__ == "__main__":
    main()
