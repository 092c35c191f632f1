"""Log-mel features and augmentation, in torch, on whatever device the waveforms are on.

Randomness is drawn apart from where it is used. `draw` gives every sample a row of uniform numbers from a
generator seeded with (seed, epoch, key), and the functions here turn the numbers into a crop, a gain and
masks. So what happens to a sample depends neither on the batch nor on the process it is in, and a resumed
run needs no generator states.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from training.errors import InputError


@dataclass(frozen=True)
class LogMelSpec:
    """The feature set: what a spectrogram model was trained on and must be given again.

    Frequencies in Hz, ``window``, ``n_fft`` and ``hop`` in samples. ``mean`` and ``std`` (natural log of power)
    bring speech at usual levels to about zero mean and unit variance; they are constants, so that loudness,
    which tells emotions apart, is kept.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    window: int = 400
    hop: int = 160
    n_mels: int = 64
    low_hz: float = 50.0
    high_hz: float = 8000.0
    floor: float = 1e-6
    mean: float = -8.0
    std: float = 4.0


LOG_MEL = LogMelSpec()


@dataclass(frozen=True)
class Augment:
    """How far augmentation goes: SpecAugment (Park et al. 2019, without time warping) and gain.

    Mask widths are uniform between 0 and the limit, in frames and mel bands; the gain in dB is uniform in
    ±``gain_db``.
    """

    gain_db: float = 10.0
    time_masks: int = 2
    time_frames: int = 30
    mel_masks: int = 2
    mel_bands: int = 12


def check_features(found: dict, where: str) -> None:
    """Raise InputError unless ``found`` is the feature set that this version computes."""
    expected = asdict(LOG_MEL)
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if names:
        told = ", ".join(f"{name} {found.get(name)} there, {expected.get(name)} here" for name in names)
        raise InputError(f"{where}: a checkpoint of another feature set ({told}); pre-train it again")


class LogMel(nn.Module):
    """Waveforms to normalised log-mel spectrograms.

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
        self.register_buffer("filters", torch.from_numpy(filters.T.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(spec.window), persistent=False)

    def log_mel(self, waves: Tensor) -> Tensor:
        """``waves`` float (batch, samples) to the log of mel power, float32 (batch, mels, 1 + samples // hop)."""
        # Half precision would lose the quiet bands: a power spectrum spans more than 16 bits do.
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

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (batch, mels, frames), zero beyond each clip's end, and frames per clip (batch,).

        ``waves`` is float (batch, samples), ``lengths`` int (batch,) counts the samples before the padding.
        """
        features = (self.log_mel(waves) - self.spec.mean) / self.spec.std
        frames = 1 + torch.div(lengths, self.spec.hop, rounding_mode="floor")
        inside = torch.arange(features.shape[-1], device=features.device) < frames[:, None]
        return features * inside[:, None, :], frames


def draw_size(augment: Augment) -> int:
    """How many uniform numbers one sample takes: crop, gain, then width and place of every mask."""
    return 2 + 2 * (augment.time_masks + augment.mel_masks)


def generator_for(seed: int, epoch: int, key: str) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}\0{epoch}\0{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw(augment: Augment, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1), float32 (draw_size,), for one sample."""
    return torch.rand(draw_size(augment), generator=generator)


def crop(wave: np.ndarray, samples: int, where: float) -> np.ndarray:
    """At most ``samples`` of ``wave`` (samples,); ``where`` in [0, 1) places the cut, 0.5 takes the middle."""
    spare = len(wave) - samples
    if spare <= 0:
        return wave
    start = int(where * (spare + 1))
    return wave[start : start + samples]


def gain(waves: Tensor, draws: Tensor, augment: Augment) -> Tensor:
    """``waves`` (batch, samples), each louder or quieter by what ``draws`` (batch, draw_size) say."""
    decibels = (2 * draws[:, 1] - 1) * augment.gain_db
    return waves * torch.pow(10.0, decibels / 20)[:, None]


def spec_augment(features: Tensor, frames: Tensor, draws: Tensor, augment: Augment) -> Tensor:
    """``features`` (batch, mels, time) with bands and stretches set to zero, the mean of normalised features.

    ``frames`` (batch,) bounds the stretches to a clip's own time; one hides at most half of it.
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
        places = torch.arange(features.shape[2 if is_time else 1], device=features.device)
        hidden = (places >= start[:, None]) & (places < (start + width)[:, None])
        keep &= ~(hidden[:, None, :] if is_time else hidden[:, :, None])
        column += 2
    return features * keep
