"""Windows shorter than Whisper's 30 s: how long, their log-mel spectrograms and their encoder states."""

from __future__ import annotations

import math

import numpy as np
from ctranslate2 import Device, StorageView
from faster_whisper import WhisperModel

from lanser_ops.asr.base import Clip
from lanser_ops.audio.decode import SAMPLE_RATE

WINDOW_S = 30
# Encoded in any case, in whole seconds, and of silence after the utterance.
MIN_WINDOW_S = 3
MARGIN_S = 1.0
# What the decoder attends to is at least so long, and so much longer than the window; the rest are states of silence.
# Without them it often continues after the speech (benchmarks/short_clips.py).
MIN_ATTENDED_S = 8
SILENCE_S = 2
# From here on the full window costs little more, and takes no timestamps: with them the decoder ends some utterances
# of 25 s at a pause (14.7 % of words wrong instead of 8.4 in joined read speech).
LONG_WINDOW_S = 23
# English speech has at most some 8 tokens per second. Without this bound on short windows, one loop would hold its
# batch to the model's limit; text in scripts that take more tokens is decoded again in the full window, which has all
# the tokens that the model allows.
TOKENS_PER_SECOND = 12
FRAMES_PER_SECOND = 100
FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
STATES_PER_SECOND = 50
# After this many frames, a spectrum's window of 400 samples holds nothing of the audio before.
SILENT_FRAMES = 5


def seconds_of(clip: Clip) -> float:
    """Length of ``clip`` in seconds."""
    return len(clip.samples) / SAMPLE_RATE


def window_of(clip: Clip) -> int:
    """Seconds of the window in which ``clip`` is recognised."""
    window = max(MIN_WINDOW_S, math.ceil(seconds_of(clip) + MARGIN_S))
    return window if window < LONG_WINDOW_S else WINDOW_S


def attended_s(window: int) -> int:
    """Seconds that the decoder attends to after encoding a window of so many."""
    return window if window == WINDOW_S else max(MIN_ATTENDED_S, window + SILENCE_S)


def token_budget(window: int, limit: int) -> int:
    """The most tokens that are decoded in a window of so many seconds; ``limit`` is what the model has room for."""
    return limit if window == WINDOW_S else min(TOKENS_PER_SECOND * attended_s(window), limit)


def silent_states(model: WhisperModel) -> np.ndarray:
    """Encoder states of a full window of silence, (1, states, width)."""
    return _encode(model, log_mel(model, np.zeros(FRAME, np.float32), WINDOW_S)[None])


def encode(model: WhisperModel, features: np.ndarray, silence: np.ndarray) -> StorageView:
    """Encoder states of log-mels, float32 (clips, mels, frames), with those of `silent_states` up to `attended_s`."""
    window = features.shape[2] // FRAMES_PER_SECOND
    if window == WINDOW_S:
        return model.encode(features)
    states = _encode(model, features)
    rest = silence[:, states.shape[1] : attended_s(window) * STATES_PER_SECOND]
    return StorageView.from_array(np.hstack([states, np.repeat(rest, len(states), axis=0)]))


def _encode(model: WhisperModel, features: np.ndarray) -> np.ndarray:
    return np.array(model.encode(features).to_device(Device.cpu))


def log_mel(model: WhisperModel, samples: np.ndarray, window: int) -> np.ndarray:
    """Log-mel spectrogram, float32 (mels, 100 frames per second of ``window``), padded with silence.

    All frames of silence are equal: only the first few are computed.
    """
    frames = window * FRAMES_PER_SECOND
    whole = -(-len(samples) // FRAME) * FRAME + SILENT_FRAMES * FRAME
    padded = np.pad(samples, (0, min(whole, window * SAMPLE_RATE) - len(samples)))
    features = model.feature_extractor(padded, padding=0)
    features = np.pad(features, ((0, 0), (0, frames - features.shape[1])), mode="edge")
    return np.ascontiguousarray(features, dtype=np.float32)
