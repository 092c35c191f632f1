from __future__ import annotations

import numpy as np
import pytest
import soxr
import torch

from training.level import Sound, filtered, low_pass, measure_sound


def noise(seed: int, decibels: float) -> np.ndarray:
    wave = np.random.default_rng(seed).standard_normal(32000)
    return (wave * 10 ** (decibels / 20)).astype(np.float32)


def test_one_gain_brings_the_median_clip_to_the_reference():
    corpus = [noise(0, -50.0), noise(1, -40.0), noise(2, -10.0), np.zeros(16000, np.float32)]
    sound = measure_sound(corpus)
    assert sound.band_hz is None
    # The power that 90 % of frames of 512 samples of noise stay below is a little above the mean of all.
    assert sound.gain_db == pytest.approx(20.0 - 0.34, abs=0.1)


def test_pauses_do_not_count():
    speech = noise(0, -30.0)
    with_pause = np.concatenate([speech[:16000], np.zeros(32000, np.float32), speech[16000:]])
    assert measure_sound([with_pause]).gain_db == pytest.approx(measure_sound([speech]).gain_db, abs=0.2)


def test_silence_has_no_level():
    assert measure_sound([np.zeros(1000, np.float32)]) == measure_sound([]) == Sound(0.0, None)


def test_the_band_of_audio_that_was_sampled_at_11_khz():
    narrow = soxr.resample(soxr.resample(noise(0, -30.0), 16000, 11025), 11025, 16000)
    assert measure_sound([narrow]).band_hz == pytest.approx(5500, abs=100)


def test_the_filter_passes_what_is_below_and_stops_what_is_above():
    t = np.arange(16000) / 16000
    waves = torch.tensor(np.stack([np.sin(2 * np.pi * hertz * t) for hertz in (200, 4800, 5500, 7000)])).float()
    inner = filtered(waves, low_pass(5500.0))[:, 200:-200]
    gains = 20 * torch.log10(inner.square().mean(dim=1) / waves.square().mean(dim=1)) / 2
    assert gains[:2].tolist() == pytest.approx([0.0, 0.0], abs=0.1)
    assert gains[2] < -50 and gains[3] < -90
    assert torch.allclose(inner[0], waves[0, 200:-200], atol=1e-3)  # no delay
