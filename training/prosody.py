"""Prosody in numbers: pitch, its range, energy and speaking rate of a clip, measured with Praat."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import parselmouth

from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, read_all
from training.dataset import stream_shards
from training.qualities import QUALITIES, Prosody

# Praat's usual range for voices of both sexes, and the reference of semitones.
PITCH_FLOOR_HZ, PITCH_CEILING_HZ, REFERENCE_HZ = 75.0, 600.0, 55.0
# The range of pitch is that between these percentiles, so that a few frames with octave errors do not count.
LOW, HIGH = 5, 95
# de Jong and Wempe 2009: a syllable's nucleus is a voiced peak of intensity, at most SILENCE_DB below the loudest,
# after a dip of at least DIP_DB.
SILENCE_DB, DIP_DB = 25.0, 2.0
MIN_S = 0.2
MIN_VOICED_FRAMES = 5


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


def measure_shards(shards: Sequence[str], keys: Sequence[str], path: Path) -> np.ndarray:
    """The QUALITIES of the samples ``keys`` of ``shards``, float32 (samples, qualities), NaN without enough voice.

    They are measured in processes, since Praat holds Python's lock, and stored at ``path``; a file that exists there is
    read instead.
    """
    if not path.exists():
        row_of = {key: row for row, key in enumerate(keys)}
        table = np.full((len(keys), len(QUALITIES)), np.nan, np.float32)
        with ProcessPoolExecutor() as pool:
            for shard in shards:
                samples = [sample for sample in stream_shards([shard]) if sample["__key__"] in row_of]
                contents = [sample["flac"] for sample in samples]
                for sample, values in zip(samples, pool.map(_measure_flac, contents, chunksize=16), strict=True):
                    table[row_of[sample["__key__"]]] = values
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as stream:
            np.save(stream, table)
        temporary.rename(path)
    return np.load(path, allow_pickle=False)


def _measure_flac(content: bytes) -> tuple[float, ...]:
    try:
        prosody = measure(read_all(io.BytesIO(content)))
    except AudioError:  # left out, and listed, where the samples are read for training
        prosody = None
    return astuple(prosody) if prosody else (np.nan,) * len(QUALITIES)


def standardised(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``values``, float32 (samples, qualities), in standard deviations ``std`` from the ``mean`` of each quality."""
    return (values - mean) / (std + 1e-6)
