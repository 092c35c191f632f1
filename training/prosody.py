"""Prosody in numbers: pitch, its range, energy and speaking rate of a clip, measured with Praat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import parselmouth

from lanser_ops.audio.decode import SAMPLE_RATE

# Praat's usual range for voices of both sexes, and the reference of semitones.
PITCH_FLOOR_HZ, PITCH_CEILING_HZ, REFERENCE_HZ = 75.0, 600.0, 55.0
# The range of pitch is that between these percentiles, so that a few frames with octave errors do not count.
LOW, HIGH = 5, 95
# de Jong and Wempe 2009: a syllable's nucleus is a voiced peak of intensity, at most SILENCE_DB below the loudest,
# after a dip of at least DIP_DB.
SILENCE_DB, DIP_DB = 25.0, 2.0
MIN_S = 0.2
MIN_VOICED_FRAMES = 5


@dataclass(frozen=True)
class Prosody:
    """Prosody of the voiced or sounding part of a clip.

    ``pitch`` is the mean in semitones above REFERENCE_HZ, ``pitch_range`` is in semitones, ``energy`` in dB,
    ``speaking_rate`` in syllables per second.
    """

    pitch: float
    pitch_range: float
    energy: float
    speaking_rate: float


def measure(wave: np.ndarray) -> Prosody | None:
    """Prosody of ``wave``, float32 (samples,) at 16 kHz; None if it has too little voice to measure.

    Sources: Boersma 1993 (Praat's autocorrelation method) for pitch; de Jong and Wempe 2009, "Praat script to
    detect syllable nuclei", for the rate.
    """
    if len(wave) < MIN_S * SAMPLE_RATE:
        return None
    sound = parselmouth.Sound(wave.astype(np.float64), SAMPLE_RATE)
    pitch = sound.to_pitch(pitch_floor=PITCH_FLOOR_HZ, pitch_ceiling=PITCH_CEILING_HZ)
    hertz = pitch.selected_array["frequency"]
    voiced = hertz[hertz > 0]
    intensity = sound.to_intensity(minimum_pitch=PITCH_FLOOR_HZ)
    decibels, times = intensity.values[0], intensity.xs()
    sounding = decibels > decibels.max() - SILENCE_DB
    if len(voiced) < MIN_VOICED_FRAMES or not sounding.any():
        return None
    semitones = 12 * np.log2(voiced / REFERENCE_HZ)
    spoken = times[sounding]
    seconds = max(spoken[-1] - spoken[0], MIN_S)
    syllables = _nuclei(decibels, times, sounding, pitch)
    return Prosody(
        pitch=float(semitones.mean()),
        pitch_range=float(np.subtract(*np.percentile(semitones, (HIGH, LOW)))),
        energy=float(10 * np.log10(np.mean(10 ** (decibels[sounding] / 10)))),
        speaking_rate=syllables / seconds,
    )


def _nuclei(decibels: np.ndarray, times: np.ndarray, sounding: np.ndarray, pitch: parselmouth.Pitch) -> int:
    """How many peaks of intensity are syllables; all arrays are (frames,)."""
    count, dip = 0, -np.inf  # the lowest intensity since the last peak; the first peak needs no dip
    for frame in range(1, len(decibels) - 1):
        dip = min(dip, decibels[frame])
        is_peak = decibels[frame - 1] < decibels[frame] >= decibels[frame + 1]
        if is_peak and sounding[frame] and decibels[frame] - dip >= DIP_DB:
            count += bool(pitch.get_value_at_time(times[frame]) > 0)  # NaN in a voiceless frame
            dip = decibels[frame]
    return count
