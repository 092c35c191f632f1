"""Decoding in a process of its own, so that a file costs no more than a reject, whatever FFmpeg does with it.

The process is started once and decodes one recording after the other. It ends itself where a block takes too long, and
where native code crashes it only takes itself along; the next recording gets a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from typing import BinaryIO, cast

import numpy as np

from lanser_ops.audio import messages
from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, DecoderFault

# For a block of 10 s, which takes some 10 ms to decode, on a machine that may be busy with much else.
MAX_BLOCK_S = 30.0
# Recorders that are worn for a day give 16 hours. A few MB of compressed silence could give months.
MAX_RECORDING_S = 24 * 3600.0


class _Decoder:
    """A process that decodes. What passes to and from it ends with AudioError where it has ended."""

    def __init__(self) -> None:
        """Raises RuntimeError, which is no file's fault, if the process does not start."""
        paths = [path or os.getcwd() for path in sys.path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lanser_ops.audio.decoder_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # Ctrl-C is for the command, not for its decoder
            )
            self.requests, self.replies = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
            messages.receive(self.replies)
        except (OSError, EOFError) as error:
            raise RuntimeError(f"the decoder's process does not start: {str(error) or 'it ended at once'}") from None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.requests, self.replies):
            try:
                stream.close()
            except OSError:  # what was not sent yet
                continue

    def send(self, kind: bytes, content: bytes = b"") -> None:
        try:
            messages.send(self.requests, kind, content)
        except BrokenPipeError:
            raise self._death() from None

    def receive(self) -> tuple[bytes, bytes]:
        try:
            return messages.receive(self.replies)
        except EOFError:
            raise self._death() from None

    def _death(self) -> AudioError:
        status = self.process.wait()
        if status == -signal.SIGALRM:
            return AudioError("timeout", "the decoder was stopped: a block of it took too long")
        cause = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        return AudioError("decoder_died", f"the decoder's process ended on it: {cause}")


# Those that wait for a recording; a thread that decodes takes one out.
_idle: list[_Decoder] = []
os.register_at_fork(after_in_child=_idle.clear)


@atexit.register
def close_idle() -> None:
    """End the processes that wait for a recording."""
    while _idle:
        _idle.pop().close()


def decode(
    stream: BinaryIO, max_block_s: float = MAX_BLOCK_S, max_recording_s: float = MAX_RECORDING_S
) -> Iterator[np.ndarray]:
    """What `lanser_ops.audio.decode.decode` gives for ``stream``, with the same errors and three more.

    AudioError ``timeout``: a block takes more than ``max_block_s`` to decode. ``too_large``: there are more than
    ``max_recording_s`` of audio, or decoding takes too much memory. ``decoder_died``: native code crashed.
    """
    samples = 0
    with contextlib.closing(_blocks(stream, messages.DECODE, max_block_s)) as blocks:
        for content in blocks:
            block = np.frombuffer(content, np.float32)
            samples += len(block)
            if samples > max_recording_s * SAMPLE_RATE:
                raise AudioError("too_large", f"has more than {max_recording_s:g} s of audio")
            yield block


def stated_seconds(stream: BinaryIO, max_s: float = MAX_BLOCK_S) -> float:
    """What `lanser_ops.audio.header.stated_seconds` gives for ``stream``; AudioError as for `decode`."""
    (content,) = _blocks(stream, messages.MEASURE, max_s)
    return float(messages.SECONDS.unpack(content)[0])


def _blocks(stream: BinaryIO, kind: bytes, max_block_s: float) -> Generator[bytes, None, None]:
    """The blocks that a decoder replies with to ``kind`` (DECODE or MEASURE) and ``stream``."""
    decoder = _idle.pop() if _idle else _Decoder()
    is_idle = False
    try:
        decoder.send(kind, messages.JOB.pack(stream.seek(0, os.SEEK_END), max_block_s))
        while True:
            reply, content = decoder.receive()
            if reply == messages.READ:
                position, size = messages.POSITION.unpack(content)
                stream.seek(position)
                decoder.send(messages.BYTES, stream.read(size))
            elif reply == messages.BLOCK:
                try:
                    yield content
                except GeneratorExit:
                    decoder.send(messages.STOP)
                    is_idle = decoder.receive()[0] == messages.END
                    raise
                decoder.send(messages.NEXT)
            else:
                is_idle = True
                if reply == messages.ERROR:
                    reason, _, detail = content.decode().partition("\0")
                    raise AudioError(cast(DecoderFault, reason), detail)
                return
    finally:
        if is_idle:
            _idle.append(decoder)
        else:
            decoder.close()
