"""Heads on frozen encoders, and the summaries that they are fitted to."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.backbones import PoolingSpec
from training.features import pad
from training.frozen import fit_frozen, frozen_probabilities, summaries
from training.model import EmotionModel, new_model

CPU = torch.device("cpu")
LABELS = ("low", "high")


def tones(count=12):
    clips = []
    for number in range(count):
        t = np.arange(4000 + 500 * (number % 5)) / 16000
        noise = np.random.default_rng(number).normal(0, 0.02, len(t))
        clips.append((0.2 * np.sin(2 * np.pi * (200, 1500)[number % 2] * t) + noise).astype(np.float32))
    return clips


@pytest.fixture(scope="module")
def whisper():
    return new_model("whisper", "tiny", LABELS, PoolingSpec("weighted", "meanstd"))


@pytest.fixture
def model_of(whisper):
    def model_with(**settings):
        torch.manual_seed(0)
        return EmotionModel(replace(whisper.spec, **settings), copy.deepcopy(whisper.encoder))

    return model_with


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("pooling", ["meanstd", "attention"])
def test_cached_and_computed_summaries_are_equal(pooling, model_of, cache, monkeypatch):
    model = model_of(pooling=pooling)
    computed = summaries(model, tones(), CPU)
    written = summaries(model, tones(), CPU, cache)
    # From now on the encoder cannot run, so that what comes was read.
    monkeypatch.setattr(model, "encode", None)
    read = summaries(model, tones(), CPU, cache)
    for first, second, third in zip(computed, written, read, strict=True):
        assert torch.equal(first, second) and torch.equal(second, third)
    assert len(list(cache.rglob("*.npy"))) >= 12 and not list(cache.rglob("tmp*"))


def test_a_summary_is_found_by_audio_encoder_and_settings(model_of, tmp_path):
    model, [clip] = model_of(), tones(1)
    summaries(model, [clip], CPU, tmp_path)
    changed = model_of()
    changed.encoder.layers[0].fc1.bias.data[0] += 1
    others = [
        (model, clip * 0.5), (changed, clip), (model_of(layers=3), clip), (model_of(pooling="mean"), clip),
        (model_of(gain_db=6.0), clip), (model_of(band_hz=5000.0), clip),
    ]  # fmt: skip
    for number, (other, wave) in enumerate(others):
        summaries(other, [wave], CPU, tmp_path)
        assert len(list(tmp_path.rglob("*.npy"))) == number + 2
    summaries(model_of(hidden=7), [clip], CPU, tmp_path)  # what comes after pooling does not count
    assert len(list(tmp_path.rglob("*.npy"))) == 7


def test_a_damaged_file_is_computed_again(model_of, tmp_path):
    model, clips = model_of(), tones(1)
    expected = summaries(model, clips, CPU, tmp_path)
    [file] = tmp_path.rglob("*.npy")
    content = file.read_bytes()
    for damaged in (b"", content[:-9], b"\x80\x04K\x01."):
        file.write_bytes(damaged)
        assert torch.equal(summaries(model, clips, CPU, tmp_path)[0], expected[0])
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("layers", "pooling", "hidden"),
    [("last", "mean", 0), ("weighted", "meanstd", 0), ("weighted", "attention", 0), (2, "mean", 4)],
)
def test_a_head_on_summaries_is_the_model_on_waves(layers, pooling, hidden, model_of, cache):
    model = model_of(layers=layers, pooling=pooling, hidden=hidden)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    clips, labels = tones(), [number % 2 for number in range(12)]
    stored = summaries(model, clips, CPU, cache)
    fit_frozen(model, stored, labels)
    predicted = frozen_probabilities(model, stored)
    assert predicted.argmax(dim=1).tolist() == labels
    with torch.inference_mode():
        whole = torch.softmax(model(*pad(clips, 6000)), dim=1)
    assert torch.allclose(whole, predicted, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert not model.training


def test_a_resnet_has_summaries_too():
    torch.manual_seed(0)
    model = new_model("resnet10-quarter", "tiny", LABELS)
    stored = summaries(model, tones(), CPU)
    fit_frozen(model, stored, [number % 2 for number in range(12)])
    assert stored[0].shape == (1, 1, 128)
    assert frozen_probabilities(model, stored).argmax(dim=1).tolist() == [number % 2 for number in range(12)]


def test_a_network_that_was_moved_to_another_device_can_be_trained(model_of, monkeypatch):
    """On a GPU its weights were tensors of inference mode, which nothing may be written to."""
    model = model_of()
    # A move makes new tensors: so does this copy, where there is one device only.
    monkeypatch.setattr(model, "to", lambda device: model._apply(torch.clone))
    clips, labels = tones(), [number % 2 for number in range(12)]
    fit_frozen(model, summaries(model, clips, CPU), labels)
    model.train()
    model(*pad(clips, 6000)).sum().backward()
    assert all(not value.is_inference() for value in model.state_dict().values())
    assert model.head.weight.grad is not None
