"""Decoding in a process of its own: the same audio, and nothing but a reject when that process ends."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lanser_ops.audio import decode, guarded
from lanser_ops.audio.decode import AudioError

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"
LOVE = (EXAMPLES / "slt" / "love_you.mp3").read_bytes()


@pytest.fixture(autouse=True, scope="module")
def decoders() -> Iterator[None]:
    yield
    guarded.close_idle()


def length(content: bytes, **limits: float) -> int:
    return sum(map(len, guarded.decode(io.BytesIO(content), **limits)))


def failure(stream: io.BytesIO, **limits: float) -> tuple[str, str]:
    with pytest.raises(AudioError) as caught:
        list(guarded.decode(stream, **limits))
    return caught.value.reason, caught.value.detail


def process_id() -> int:
    """Of the one process that waits."""
    (decoder,) = guarded._idle
    return decoder.process.pid


def test_blocks_are_those_of_decode():
    for name in ("long/two_minutes.opus", "slt/love_you.mp3", "rms/hilarious.mp4"):
        content = (EXAMPLES / name).read_bytes()
        blocks, expected = (list(module.decode(io.BytesIO(content))) for module in (guarded, decode))
        assert [block.tobytes() for block in blocks] == [block.tobytes() for block in expected]
    assert failure(io.BytesIO((EXAMPLES / "broken" / "truncated.flac").read_bytes())) == (
        "truncated",
        "1.44 of 3.90 s could be decoded: the file is cut off",
    )


def test_one_process_decodes_all_recordings_even_if_one_is_left_half_read():
    length(LOVE)
    first = process_id()
    blocks = guarded.decode(io.BytesIO((EXAMPLES / "long" / "two_minutes.opus").read_bytes()))
    assert len(next(blocks)) > 100_000
    assert guarded._idle == []
    blocks.close()
    assert failure(io.BytesIO(b"no audio" * 100))[0] == "not_audio"
    length(LOVE)
    assert process_id() == first


class Fatal(io.BytesIO):
    """A recording at whose first byte the decoder's process gets a signal, as from a fault in native code."""

    def __init__(self, signal_number: int):
        super().__init__(LOVE)
        self._target, self._signal = process_id(), signal_number

    def read(self, size: int | None = -1) -> bytes:
        os.kill(self._target, self._signal)
        return super().read(size)


@pytest.mark.parametrize(
    ("signal_number", "cause"), [(signal.SIGSEGV, "Segmentation fault"), (signal.SIGKILL, "Killed")]
)
def test_a_crash_is_a_reject_and_the_next_recording_is_decoded(signal_number: int, cause: str):
    length(LOVE)
    assert failure(Fatal(signal_number)) == ("decoder_died", f"the decoder's process ended on it: {cause}")
    assert guarded._idle == []
    assert length(LOVE) == pytest.approx(40_800, abs=1000)


def test_a_block_that_takes_too_long_is_a_timeout():
    assert failure(io.BytesIO(LOVE), max_block_s=1e-5)[0] == "timeout"
    assert length(LOVE) == pytest.approx(40_800, abs=1000)


def test_a_recording_that_is_too_long_is_too_large():
    assert failure(io.BytesIO(LOVE), max_recording_s=1.0) == ("too_large", "has more than 1 s of audio")


def test_a_stream_that_fails_says_so():
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise BrokenPipeError("the store is gone")

    with pytest.raises(BrokenPipeError, match="the store is gone"):
        list(guarded.decode(Gone(LOVE)))


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_header_that_claims_a_billion_samples_takes_no_memory(form: str):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format=form, subtype="PCM_16")
    content = bytearray(buffer.getvalue())
    if form == "WAV":
        content[40:44] = (2 * 10**9).to_bytes(4, "little")
    else:  # the last 36 bits before the checksum of STREAMINFO, RFC 9639, section 8.2
        content[21] = content[21] & 0xF0
        content[22:26] = (10**9).to_bytes(4, "big")
    assert failure(io.BytesIO(content))[0] == "truncated"
    status = Path(f"/proc/{process_id()}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < 200_000
    assert "Max address space         2147483648" in Path(f"/proc/{process_id()}/limits").read_text()


def test_a_decoder_that_does_not_start_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch):
    guarded.close_idle()
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="the decoder's process does not start: it ended at once"):
        length(LOVE)


def test_the_length_that_a_header_states():
    names = ("slt/best_day.wav", "slt/thank_you.flac", "slt/love_you.mp3", "rms/grandfather.opus", "rms/hilarious.mp4")
    for name in names:
        content = (EXAMPLES / name).read_bytes()
        seconds = sum(map(len, guarded.decode(io.BytesIO(content)))) / decode.SAMPLE_RATE
        assert guarded.stated_seconds(io.BytesIO(content)) == pytest.approx(seconds, abs=0.1)
    for content in (b"", b"no audio at all, but some text", LOVE[:3]):
        with pytest.raises(AudioError):
            guarded.stated_seconds(io.BytesIO(content))
    assert length(LOVE) > 16_000
