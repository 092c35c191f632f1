"""How something is said, in numbers: pitch, its range, energy and speaking rate of a clip, measured with Praat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import parselmouth

from training.features import LOG_MEL

# Praat's usual span for voices of both sexes, and the semitones above this reference.
PITCH_FLOOR_HZ, PITCH_CEILING_HZ, REFERENCE_HZ = 75.0, 600.0, 55.0
# Range of pitch between these percentiles: single frames that are an octave off do not count.
LOW, HIGH = 5, 95
# de Jong and Wempe 2009: a syllable's nucleus is a voiced peak of intensity that is at most this far under the
# loudest, with a dip of at least DIP_DB before it.
SILENCE_DB, DIP_DB = 25.0, 2.0
MIN_S = 0.2
MIN_VOICED_FRAMES = 5


@dataclass(frozen=True)
class Prosody:
    """``pitch`` is the mean in semitones above 55 Hz, ``pitch_range`` in semitones, ``energy`` in dB, both over
    the voiced or sounding part; ``speaking_rate`` in syllables a second of it."""

    pitch: float
    pitch_range: float
    energy: float
    speaking_rate: float


def measure(wave: np.ndarray) -> Prosody | None:
    """Prosody of ``wave``, float32 (samples,) at 16 kHz; None where there is too little voice to tell.

    Sources: Boersma 1993 (Praat's autocorrelation method) for pitch; de Jong and Wempe 2009, "Praat script to
    detect syllable nuclei", for the rate.
    """
    if len(wave) < MIN_S * LOG_MEL.sample_rate:
        return None
    sound = parselmouth.Sound(wave.astype(np.float64), LOG_MEL.sample_rate)
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
    """How many peaks of intensity are syllables; ``lowest`` is the deepest dip since the last one."""
    count, lowest = 0, -np.inf
    for place in range(1, len(decibels) - 1):
        lowest = min(lowest, decibels[place])
        is_peak = decibels[place - 1] < decibels[place] >= decibels[place + 1]
        if is_peak and sounding[place] and decibels[place] - lowest >= DIP_DB:
            count += bool(pitch.get_value_at_time(times[place]) > 0)  # NaN where there is no voice
            lowest = decibels[place]
    return count
