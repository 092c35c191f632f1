from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from lanser_ops.common.errors import InputError
from training.features import LOG_MEL, Augment, LogMel, check_features, crop, draw, gain, generator_for, spec_augment

# np.log(librosa.feature.melspectrogram(y=chirp(), sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=64,
# fmin=50, fmax=8000, pad_mode="constant") + 1e-6), librosa 0.11.0: every ninth band of four frames.
LIBROSA = {
    0: [0.038225, -4.069858, -6.771612, -8.45454, -10.089766, -11.547504, -12.609506, -13.062554],
    7: [-11.604499, -1.299593, -13.381834, -13.811362, -13.815266, -13.815497, -13.81551, -13.815511],
    25: [-9.906257, -9.858038, 2.50537, -9.436958, -8.45122, -6.179456, -10.400263, -11.505709],
    50: [-4.860431, -4.747823, -4.322232, -2.680101, -4.117506, -5.100671, -7.852977, -8.778003],
}
LIBROSA_MEAN = -11.390429
FLOOR = torch.tensor([-2.0])


def chirp() -> np.ndarray:
    """Half a second at 16 kHz: a tone that rises from 200 Hz to 1,700 Hz, and one of 3 kHz from the middle on."""
    t = np.arange(8000) / 16000
    rising = 0.3 * np.sin(2 * np.pi * (200 * t + 1500 * t * t))
    return (rising + 0.05 * np.sin(2 * np.pi * 3000 * t) * (t > 0.25)).astype(np.float32)


def test_log_mel_is_that_of_librosa():
    features = LogMel().log_mel(torch.from_numpy(chirp())[None])[0]
    assert features.shape == (64, 51)
    for frame, expected in LIBROSA.items():
        assert features[::9, frame].tolist() == pytest.approx(expected, abs=1e-3)
    assert features.mean().item() == pytest.approx(LIBROSA_MEAN, abs=1e-3)


def test_padding_changes_no_frame():
    wave = torch.from_numpy(chirp())
    alone, frames, floors = LogMel()(wave[None], torch.tensor([8000]))
    padded = torch.zeros(2, 16000)
    padded[0, :8000] = wave
    padded[1] = 0.1
    together, lengths, _ = LogMel()(padded, torch.tensor([8000, 16000]))
    assert frames.tolist() == [51] and lengths.tolist() == [51, 101]
    assert torch.allclose(together[0, :, :51], alone[0], atol=1e-5)
    assert together[0, :, 60:].abs().max().item() == floors.item() == 0.0  # silence is zero


def test_draws_depend_on_seed_epoch_and_key_alone():
    augment = Augment()
    first = draw(augment, generator_for(1, 2, "00ff"))
    torch.manual_seed(5)
    assert torch.equal(first, draw(augment, generator_for(1, 2, "00ff")))
    others = [draw(augment, generator_for(*other)) for other in [(2, 2, "00ff"), (1, 3, "00ff"), (1, 2, "00fe")]]
    assert all(not torch.equal(first, other) for other in others)


def test_crop_takes_what_the_number_says():
    wave = np.arange(10)
    assert crop(wave, 4, 0.0).tolist() == [0, 1, 2, 3]
    assert crop(wave, 4, 0.9999).tolist() == [6, 7, 8, 9]
    assert crop(wave, 4, 0.5).tolist() == [3, 4, 5, 6]
    assert crop(wave, 20, 0.9).tolist() == wave.tolist()


def test_gain_is_in_decibels():
    draws = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 0.75]])
    louder = gain(torch.ones(3, 2), draws, Augment(gain_db=20.0))
    assert louder[:, 0].tolist() == pytest.approx([0.1, 1.0, 3.162278])


def test_spec_augment_hides_the_drawn_stretch_and_bands():
    augment = Augment(time_masks=1, time_frames=9, mel_masks=1, mel_bands=3)
    # crop, gain; width floor(.5 * 10) = 5 frames from floor(.5 * 36) = 18; floor(.5 * 4) = 2 bands from floor(.5 * 7)
    draws = torch.tensor([[0.0, 0.0, 0.5, 0.5, 0.5, 0.5]])
    hidden = spec_augment(torch.ones(1, 8, 60), torch.tensor([40]), draws, augment, FLOOR)[0] == -2
    assert torch.nonzero(hidden.all(dim=0)).flatten().tolist() == [18, 19, 20, 21, 22]
    assert torch.nonzero(hidden.all(dim=1)).flatten().tolist() == [3, 4]
    assert hidden.sum() == 5 * 8 + 2 * 60 - 5 * 2


def test_spec_augment_leaves_half_of_a_short_clip():
    augment = Augment(time_masks=1, time_frames=100, mel_masks=0)
    draws = torch.tensor([[0.0, 0.0, 0.999, 0.999]])
    hidden = spec_augment(torch.ones(1, 4, 60), torch.tensor([20]), draws, augment, FLOOR)[0, 0] == -2
    assert torch.nonzero(hidden).flatten().tolist() == list(range(10, 20))


def test_another_feature_set_is_refused():
    check_features(asdict(LOG_MEL), "here")
    with pytest.raises(InputError, match="runs/a: a checkpoint of another feature set .n_mels is 80, now 64"):
        check_features(asdict(LOG_MEL) | {"n_mels": 80}, "runs/a")
