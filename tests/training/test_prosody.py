"""Prosody of sounds whose pitch, loudness and syllables are known."""

from __future__ import annotations

import numpy as np
import pytest

from training.prosody import measure


def voice(hertz: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """A voice-like sound of ten harmonics; both arguments are (samples,) at 16 kHz."""
    cycles = 2 * np.pi * np.cumsum(hertz) / 16000
    return (loudness * sum(np.sin(n * cycles) / n for n in range(1, 11))).astype(np.float32)


def test_pitch_and_range():
    flat = measure(voice(np.full(32000, 110.0), np.full(32000, 0.1)))
    assert flat.pitch == pytest.approx(12, abs=0.1)  # 110 Hz is an octave above 55 Hz
    assert flat.pitch_range < 0.2
    gliding = measure(voice(110 * 2 ** (np.arange(32000) / 32000), np.full(32000, 0.1)))
    assert gliding.pitch == pytest.approx(18, abs=0.5)
    assert gliding.pitch_range == pytest.approx(12 * 0.9, abs=0.8)  # from the 5th to the 95th percentile


def test_energy_is_in_decibels():
    quiet, loud = (measure(voice(np.full(16000, 150.0), np.full(16000, level))) for level in (0.01, 0.1))
    assert loud.energy - quiet.energy == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("syllables", [2, 5, 8])
def test_speaking_rate_counts_swells_of_the_voice(syllables):
    time = np.arange(32000) / 16000
    swells = 0.2 * np.sin(np.pi * syllables / 2 * time) ** 2 + 0.002  # so many swells in two seconds
    prosody = measure(voice(np.full(32000, 150.0), swells))
    assert prosody.speaking_rate == pytest.approx(syllables / 2, rel=0.2)


def test_silence_does_not_count_as_speech():
    time = np.arange(32000) / 16000
    spoken = voice(np.full(32000, 150.0), 0.2 * np.sin(np.pi * 4 * time) ** 2 + 0.002)
    alone = measure(spoken)
    padded = measure(np.concatenate([np.zeros(16000, np.float32), spoken, np.zeros(16000, np.float32)]))
    assert padded.speaking_rate == pytest.approx(alone.speaking_rate, rel=0.1)
    assert padded.energy == pytest.approx(alone.energy, abs=0.5)


@pytest.mark.parametrize(
    "wave", [np.zeros(0), np.zeros(100), np.zeros(32000), np.random.default_rng(0).normal(0, 0.1, 32000)]
)
def test_without_voice_there_is_nothing_to_tell(wave):
    assert measure(wave.astype(np.float32)) is None
