"""Samples to audio files."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from lanser_ops.audio.decode import SAMPLE_RATE


def encode_flac(samples: np.ndarray) -> bytes:
    """16 kHz mono PCM_16 FLAC of float ``samples`` of shape (samples,); equal input gives equal bytes.

    Samples are clipped to [-1, 1], scaled by 32768 and rounded half to even; 32768 becomes 32767. This is the inverse
    of `decode.decode`, so PCM_16 is restored bit for bit (libsndfile's own float path scales by 32767).
    """
    integers = np.clip(np.rint(np.clip(samples, -1.0, 1.0) * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
