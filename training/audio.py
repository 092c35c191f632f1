"""Audio as the models take it: mono float32 at 16 kHz."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.features import LOG_MEL


class AudioError(ValueError):
    """Audio that cannot be used: one line that says why."""


def decode(source: bytes | Path, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
    """Float32 (samples,) at LOG_MEL.sample_rate, channels averaged, of a file or its content.

    ``start_s`` and ``end_s`` (seconds) cut a stretch out of it.

    Raises:
        AudioError: not readable as audio, no samples, samples that are not finite, or a stretch outside it.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            rate = file.samplerate
            start = round((start_s or 0.0) * rate)
            stop = file.frames if end_s is None else min(file.frames, round(end_s * rate))
            if not 0 <= start < stop:
                raise AudioError(f"no samples between {start_s} s and {end_s} s of {file.frames / rate:.2f} s")
            file.seek(start)
            samples = file.read(stop - start, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(str(error).splitlines()[0]) from None
    if not len(samples) or not np.isfinite(samples).all():
        raise AudioError("no samples, or samples that are not finite")
    return samples if rate == LOG_MEL.sample_rate else soxr.resample(samples, rate, LOG_MEL.sample_rate)


def pad(waves: list[np.ndarray], samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms of at most ``samples`` each as float32 (batch, samples), zeros after each, and their lengths."""
    padded = np.zeros((len(waves), samples), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    return padded, np.array([len(wave) for wave in waves], np.int64)
