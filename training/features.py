"""Log-mel features and augmentation, in torch, on whatever device the waveforms are on.

Random numbers are drawn separately from their use. `draw` gives every sample a row of uniform numbers from a
generator seeded with (seed, epoch, key), and the functions here turn the numbers into a crop, a gain and
masks. So the augmentation of a sample depends neither on its batch nor on its process, and a resumed run
needs no generator states.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError


@dataclass(frozen=True)
class LogMelSpec:
    """The feature set, which must be the same when a spectrogram model is trained and when it is used.

    Frequencies in Hz, ``window``, ``n_fft`` and ``hop`` in samples. Features are the natural log of power over
    ``floor``, divided by ``scale``: silence is 0, so what convolutions read beyond the ends of a clip, and what masks
    leave, is silence. The scale is a constant in order to preserve loudness, which helps to distinguish emotions.
    """

    sample_rate: int = SAMPLE_RATE
    n_fft: int = 512
    window: int = 400
    hop: int = 160
    n_mels: int = 64
    low_hz: float = 50.0
    high_hz: float = 8000.0
    floor: float = 1e-6
    scale: float = 4.0


LOG_MEL = LogMelSpec()


@dataclass(frozen=True)
class Augment:
    """The strength of augmentation: SpecAugment (Park et al. 2019, without time warping) and gain.

    Mask widths are uniform between 0 and the limit, in frames and mel bands; the gain in dB is uniform in
    ±``gain_db``.
    """

    gain_db: float = 10.0
    time_masks: int = 2
    time_frames: int = 30
    mel_masks: int = 2
    mel_bands: int = 12


def check_features(saved: dict[str, Any], place: str) -> None:
    """Raise InputError, with ``place``, unless ``saved`` is the feature set that this version computes."""
    current = asdict(LOG_MEL)
    names = sorted(name for name in current.keys() | saved.keys() if current.get(name) != saved.get(name))
    if names:
        differences = ", ".join(f"{name} is {saved.get(name)}, now {current.get(name)}" for name in names)
        raise InputError(f"{place}: a checkpoint of another feature set ({differences}); pre-train it again")


class LogMel(nn.Module):
    """Waveforms to log-mel spectrograms in which silence is 0.

    As ``librosa.feature.melspectrogram`` (centred Hann windows, zeros beyond the ends, power, Slaney's mel
    scale and area norm), then the natural logarithm over a floor.
    """

    def __init__(self, spec: LogMelSpec = LOG_MEL):
        super().__init__()
        self.spec = spec
        filters = mel_filter_bank(
            num_frequency_bins=spec.n_fft // 2 + 1,
            num_mel_filters=spec.n_mels,
            min_frequency=spec.low_hz,
            max_frequency=spec.high_hz,
            sampling_rate=spec.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.filters: Tensor
        self.window: Tensor
        self.register_buffer("filters", torch.from_numpy(filters.T.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(spec.window), persistent=False)

    def log_mel(self, waves: Tensor) -> Tensor:
        """The log of mel power of ``waves``, float (batch, samples): float32 (batch, mels, 1 + samples // hop)."""
        # Half precision would lose the quiet bands: a power spectrum spans more than 16 bits.
        with torch.autocast(device_type=waves.device.type, enabled=False):
            spectrum = torch.stft(
                waves.float(),
                n_fft=self.spec.n_fft,
                hop_length=self.spec.hop,
                win_length=self.spec.window,
                window=self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(torch.matmul(self.filters, power) + self.spec.floor)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, float32 (batch, mels, frames), the frames per clip, int (batch,), and the clips' floors, (batch,).

        ``waves`` is float (batch, samples), ``lengths`` int (batch,) counts the samples before the padding. Frames
        beyond a clip's end hold the features of silence; training.encoders masks them.
        """
        # The shape and not len(), which would fix the size of a batch in an exported graph.
        features = (self.log_mel(waves) - math.log(self.spec.floor)) / self.spec.scale
        return features, 1 + lengths // self.spec.hop, features.new_zeros(features.shape[0])


def draw_size(augment: Augment) -> int:
    """How many uniform numbers a sample takes: crop, gain, then width and position of every mask."""
    return 2 + 2 * (augment.time_masks + augment.mel_masks)


def generator_for(seed: int, epoch: int, key: str) -> torch.Generator:
    """A CPU generator whose seed is a hash of the arguments."""
    digest = hashlib.sha256(f"{seed}\0{epoch}\0{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw(augment: Augment, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1), float32 (draw_size,), for one sample."""
    return torch.rand(draw_size(augment), generator=generator)


def crop(wave: np.ndarray, samples: int, position: float) -> np.ndarray:
    """At most ``samples`` of ``wave`` (samples,); ``position`` in [0, 1) places the cut, 0.5 takes the middle."""
    spare = len(wave) - samples
    if spare <= 0:
        return wave
    start = int(position * (spare + 1))
    return wave[start : start + samples]


def shuffle_pieces(wave: np.ndarray, samples: int, generator: torch.Generator) -> np.ndarray:
    """``wave`` (samples,) cut into pieces of ``samples`` each, the last one shorter, in a random order.

    >>> shuffle_pieces(np.arange(5), 2, torch.Generator().manual_seed(0)).tolist()
    [4, 0, 1, 2, 3]
    """
    pieces = [wave[start : start + samples] for start in range(0, len(wave), samples)]
    return np.concatenate([pieces[number] for number in torch.randperm(len(pieces), generator=generator).tolist()])


def pad(waves: Sequence[np.ndarray], samples: int) -> tuple[Tensor, Tensor]:
    """Waveforms of at most ``samples`` each as float32 (batch, samples), followed by zeros, and their lengths, int64.

    >>> pad([np.ones(2, np.float32)], 3)
    (tensor([[1., 1., 0.]]), tensor([2]))
    """
    padded = np.zeros((len(waves), samples), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    return torch.from_numpy(padded), torch.tensor([len(wave) for wave in waves])


def gain(waves: Tensor, draws: Tensor, augment: Augment) -> Tensor:
    """``waves`` (batch, samples), each amplified or attenuated according to ``draws`` (batch, draw_size)."""
    decibels = (2 * draws[:, 1] - 1) * augment.gain_db
    return waves * torch.pow(10.0, decibels / 20)[:, None]


def spec_augment(features: Tensor, frames: Tensor, draws: Tensor, augment: Augment, floors: Tensor) -> Tensor:
    """``features`` (batch, mels, time) with bands and spans of time at the floor of their clip, ``floors`` (batch,).

    ``frames`` (batch,) confines the spans to a clip's own time; each hides at most half of it.
    """
    mels = torch.full_like(frames, features.shape[1])
    keep = torch.ones_like(features, dtype=torch.bool)
    column = 2
    for number in range(augment.time_masks + augment.mel_masks):
        is_time = number < augment.time_masks
        size = (frames if is_time else mels).to(draws.dtype)
        limit = torch.clamp(size / 2, max=augment.time_frames if is_time else augment.mel_bands)
        width = torch.floor(draws[:, column] * (torch.floor(limit) + 1))
        start = torch.floor(draws[:, column + 1] * (size - width + 1))
        positions = torch.arange(features.shape[2 if is_time else 1], device=features.device)
        hidden = (positions >= start[:, None]) & (positions < (start + width)[:, None])
        keep &= ~(hidden[:, None, :] if is_time else hidden[:, :, None])
        column += 2
    return torch.where(keep, features, floors[:, None, None])
