"""The level and the band of a corpus, and the correction of both.

One gain brings a corpus to a reference level, so corpora that were recorded differently match, while the loudness of a
clip within its corpus stays. A low-pass limits every corpus to the band of the one that a model was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lanser_ops.audio.decode import SAMPLE_RATE

# Near the level of speech that is mastered for listening: -26 dB active level (ITU-T P.56) with peaks above.
REFERENCE_DB = -20.0
FRAME = 512
# The share of a clip's frames that lie below its level.
QUANTILE = 0.9
# A band carries sound if its mean power is at most this far below that of the strongest.
RANGE_DB = 75.0
# Above this the band of 16 kHz audio is as good as full: resampling to 16 kHz removes what lies above.
FULL_HZ = 7500.0
# Taps of the low-pass, and the shape of its Kaiser window: about 120 dB of attenuation beyond 600 Hz.
TAPS, BETA = 211, 12.0
HALF_TRANSITION_HZ = 300.0


@dataclass(frozen=True)
class Sound:
    """What is done to a corpus' waveforms: a gain in dB, and a low-pass at ``band_hz``, None for none."""

    gain_db: float = 0.0
    band_hz: float | None = None


def measure_sound(waves: Iterable[np.ndarray]) -> Sound:
    """The gain that brings a corpus of ``waves``, each float32 (samples,) at 16 kHz, to REFERENCE_DB, and its band.

    The level of a clip is the power that QUANTILE of its frames do not reach, that of a corpus the median over clips.
    Silent clips do not count; without any other, the gain is 0 and the band full.
    """
    levels = []
    spectrum = np.zeros(FRAME // 2 + 1)
    window = np.hanning(FRAME)
    for wave in waves:
        frames = np.resize(wave, (max(1, len(wave) // FRAME), FRAME)).astype(np.float64)
        level = np.quantile(np.square(frames).mean(axis=1), QUANTILE)
        if level > 0:
            levels.append(10 * math.log10(level))
            spectrum += np.square(np.abs(np.fft.rfft(frames * window))).mean(axis=0) / level
    if not levels:
        return Sound()
    loud = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (-RANGE_DB / 10))
    edge = float(loud[-1]) * SAMPLE_RATE / FRAME
    return Sound(round(REFERENCE_DB - float(np.median(levels)), 2), None if edge >= FULL_HZ else edge)


def low_pass(band_hz: float) -> Tensor:
    """The impulse response, float32 (TAPS,), of a linear-phase filter that leaves what lies below ``band_hz``."""
    cutoff = (band_hz - HALF_TRANSITION_HZ) / SAMPLE_RATE
    times = np.arange(TAPS) - TAPS // 2
    response = 2 * cutoff * np.sinc(2 * cutoff * times) * np.kaiser(TAPS, BETA)
    return torch.from_numpy(response / response.sum()).float()


def filtered(waves: Tensor, response: Tensor) -> Tensor:
    """``waves`` (batch, samples) through the filter with the impulse ``response`` (TAPS,), without a delay."""
    return torch.nn.functional.conv1d(waves[:, None], response[None, None], padding=len(response) // 2)[:, 0]
