"""Audio of a page: small, the same every time, and bounded."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from lanser_ops.report import clips
from lanser_ops.report.clips import Clips, encode_mp3, is_clipped

RATE = 16_000


def tone(seconds: float, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def test_mp3_is_the_sound_at_three_kilobytes_a_second_and_the_same_every_time():
    content = encode_mp3(tone(4.0))
    assert content == encode_mp3(tone(4.0))
    assert 10_000 < len(content) < 15_000
    with av.open(io.BytesIO(content)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert container.streams.audio[0].rate == RATE
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.15)  # whole frames, and the encoder's delay
    peaks = np.abs(np.fft.rfft(samples[RATE : 2 * RATE]))
    assert int(np.argmax(peaks)) == 440


def test_clipping_is_several_samples_in_a_row_at_full_scale():
    loud = np.clip(tone(0.1, 2.0), -1, 1)
    assert is_clipped(loud) and not is_clipped(tone(0.1, 0.99))
    pulse = np.zeros(100, np.float32)
    pulse[[10, 12, 14]] = 1.0
    assert not is_clipped(pulse)
    pulse[97:] = -1.0
    assert is_clipped(pulse) and not is_clipped(pulse[:99]) and not is_clipped(np.zeros(0, np.float32))


def test_audio_ends_where_there_is_no_more_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clips, "MAX_BYTES", 10_000)
    audio = Clips()
    for key in ("a", "a", "b", "c"):
        audio.add(key, tone(1.0))
    assert list(audio.audio) == ["a", "b"] and audio.left_out == 1
    assert audio.bytes == sum(map(len, audio.audio.values())) <= 10_000
