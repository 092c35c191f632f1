"""Windows shorter than Whisper's 30 s: how long, their log-mel spectrograms and their encoder states."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ctranslate2 import Device, StorageView
from faster_whisper import WhisperModel

from lanser_ops.asr.base import Clip
from lanser_ops.audio.decode import SAMPLE_RATE

WINDOW_S = 30
# In windows under 8 s the decoder often continues after the speech, whatever the margin: tiny.en did so in 222 of
# 480 RAVDESS clips (some 3.7 s long) with 2 s of margin, 9 of them in windows over 6 s, and in 3 with 4 s.
MIN_WINDOW_S = 8
MARGIN_S = 3.0
# From here on the full window costs little more, and takes no timestamps: with them the decoder ends some utterances
# of 25 s at a pause (14.7 % of words wrong instead of 8.4 in joined read speech).
LONG_WINDOW_S = 25
# With ``--short-windows`` so many seconds less are encoded, down to a minimum. The decoder attends to a window of the
# usual length all the same: the states of a silence that was encoded once follow (benchmarks/short_clips.py).
MIN_ENCODED_S = 3
NOT_ENCODED_S = 2
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


@dataclass(frozen=True, order=True)
class Window:
    """Whole seconds that are encoded, and that the decoder attends to: the rest is `silent_states`."""

    encoded_s: int
    attended_s: int


FULL_WINDOW = Window(WINDOW_S, WINDOW_S)


def window_of(clip: Clip, short: bool = False) -> Window:
    """The window in which ``clip`` is recognised; ``short``: with less of the silence encoded."""
    needed_s = math.ceil(seconds_of(clip) + MARGIN_S)
    attended_s = max(MIN_WINDOW_S, needed_s)
    if attended_s >= LONG_WINDOW_S:
        return FULL_WINDOW
    return Window(max(MIN_ENCODED_S, needed_s - NOT_ENCODED_S) if short else attended_s, attended_s)


def token_budget(window: int, limit: int) -> int:
    """The most tokens that are decoded in a window of so many seconds; ``limit`` is what the model has room for."""
    return limit if window == WINDOW_S else min(TOKENS_PER_SECOND * window, limit)


def encode(model: WhisperModel, features: np.ndarray, silence: np.ndarray, window: Window) -> StorageView:
    """Encoder states of log-mels, float32 (clips, mels, frames), and of ``silence`` for what is attended to beyond."""
    if window.encoded_s == window.attended_s:
        return model.encode(features)
    states = _on_cpu(model.encode(features))
    rest = silence[:, states.shape[1] : window.attended_s * STATES_PER_SECOND]
    return StorageView.from_array(np.hstack([states, np.repeat(rest, len(states), axis=0)]))


def silent_states(model: WhisperModel) -> np.ndarray:
    """Encoder states of a full window of silence, (1, states, width)."""
    return _on_cpu(model.encode(log_mel(model, np.zeros(FRAME, np.float32), WINDOW_S)[None]))


def _on_cpu(states: StorageView) -> np.ndarray:
    return np.array(states.to_device(Device.cpu))


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
