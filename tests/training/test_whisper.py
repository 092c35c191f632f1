"""Whisper's encoder in torch: that it is CTranslate2's and transformers', and that its windows follow the clips."""

from __future__ import annotations

import struct

import ctranslate2
import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from lanser_ops.common.bundled import bundled_whisper
from lanser_ops.common.errors import InputError
from training.backbones import PoolingSpec
from training.ctranslate2_weights import read_weights
from training.features import Augment, pad
from training.model import load_model, new_model, save_model
from training.whisper import WhisperMel, load_whisper, whisper_states

LABELS = ("anger", "joy", "sadness")


def voice(seconds: float, pitch: float = 140.0) -> np.ndarray:
    """A buzz whose loudness and pitch change, float32 at 16 kHz."""
    t = np.arange(round(seconds * 16000)) / 16000
    phase = 2 * np.pi * pitch * (t + 0.02 * np.sin(5 * t))
    buzz = sum(np.sin(number * phase) / number for number in range(1, 20))
    return (0.1 * (1.2 + np.sin(9 * t)) * buzz).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return load_whisper("whisper").eval()


@pytest.fixture(scope="module")
def bundled():
    return ctranslate2.models.Whisper(str(bundled_whisper("test")), compute_type="float32", intra_threads=1)


def encoded(model: ctranslate2.models.Whisper, features: np.ndarray) -> np.ndarray:
    view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None]))
    return np.array(model.encode(view))[0]


def extracted(wave: np.ndarray) -> np.ndarray:
    """Whisper's own features of the window of 30 s that begins with ``wave``, (80, 3000)."""
    extractor = WhisperFeatureExtractor(feature_size=80)
    return extractor(wave, sampling_rate=16000, return_tensors="np").input_features[0]


def test_log_mel_is_that_of_whispers_extractor():
    waves = [voice(1.237), 0.01 * voice(2.0)]
    features, frames, floors = WhisperMel(80)(*pad(waves, 32000))
    assert frames.tolist() == [124, 200] and features.shape == (2, 80, 202)
    for row, wave in enumerate(waves):
        expected = extracted(wave)
        assert np.abs(features[row].numpy() - expected[:, :202]).max() < 1e-4
        assert floors[row].item() == pytest.approx(expected[:, 2000:].max(), abs=1e-4)


@pytest.mark.parametrize("window", [3000, 400])
@torch.inference_mode()
def test_the_encoder_is_that_of_ctranslate2(window, encoder, bundled):
    features = np.ascontiguousarray(extracted(voice(3.3))[:, :window])
    expected = encoded(bundled, features)
    states, steps = whisper_states(encoder, torch.from_numpy(features)[None], torch.tensor([window]))
    assert (steps.tolist(), len(states), expected.shape) == ([window // 2], 5, (window // 2, 384))
    difference = np.abs(states[-1][0].numpy() - expected)
    assert expected.std() > 0.5 and difference.max() < 1e-3 and difference.mean() < 1e-5


@torch.inference_mode()
def test_all_states_are_those_of_transformers(encoder):
    features = torch.from_numpy(extracted(voice(2.0)))[None]
    states, _ = whisper_states(encoder, features, torch.tensor([3000]))
    expected = encoder(features, output_hidden_states=True)
    for state, other in zip(states[:-1], expected.hidden_states, strict=False):
        assert torch.allclose(state, other, atol=1e-3)
    assert torch.allclose(states[-1], expected.last_hidden_state, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "meanstd", "attention"])
@torch.inference_mode()
def test_a_clip_is_embedded_alike_whatever_is_beside_it(pooling):
    torch.manual_seed(0)
    model = new_model("whisper", "tiny", LABELS, PoolingSpec("weighted", pooling)).eval()
    clips = [voice(0.313), voice(0.75, 200), voice(1.6, 90)]
    alone = torch.cat([model.embed(*pad([clip], len(clip))) for clip in clips])
    assert (alone[0] - alone[1]).abs().max() > 0.05
    assert torch.allclose(model.embed(*pad(clips, 25600)), alone, atol=1e-4)
    assert torch.allclose(model.embed(*pad(clips[:1], 40000)), alone[:1], atol=1e-4)


def test_save_and_load(tmp_path):
    model = new_model("whisper", "tiny", LABELS, PoolingSpec("weighted", "attention", 6)).eval()
    save_model(model, tmp_path / "run" / "model")
    loaded = load_model(tmp_path / "run")
    batch = pad([voice(0.5)], 8000)
    assert loaded.spec == model.spec and loaded.width == 6
    assert torch.equal(loaded(*batch), model(*batch))


@torch.inference_mode()
def test_masks_are_at_the_floor_of_their_clip():
    model = new_model("whisper", "tiny", LABELS).eval()
    waves, lengths = pad([voice(1.0)], 16000)
    silence = torch.zeros_like(waves)
    hide_all = Augment(gain_db=0, time_masks=0, mel_masks=2, mel_bands=80)
    draws = torch.tensor([[0.0, 0.5, 0.999, 0.0, 0.999, 0.999]])  # two masks that hide half of the bands each
    hidden, _ = model.encode(waves, lengths, draws, hide_all)
    features, frames, floors = model.features(waves, lengths)
    expected, _ = whisper_states(model.encoder, floors[:, None, None].expand_as(features), frames)
    assert torch.allclose(hidden[0], expected[-1], atol=1e-5)
    assert not torch.allclose(hidden[0], model.encode(silence, lengths)[0][0], atol=1e-2)


def test_a_clip_beyond_the_window_is_refused(encoder):
    with pytest.raises(ValueError, match="a clip of 30.0 s: Whisper encodes 30 s at most"):
        whisper_states(encoder, torch.zeros(1, 80, 3002), torch.tensor([3002]))


@pytest.mark.parametrize("parts", ["whole", "encoder"])
def test_a_model_of_transformers(parts, tmp_path):
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=48, num_mel_bins=80, vocab_size=60, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = WhisperModel(config).eval()
    (whole if parts == "whole" else whole.encoder).half().save_pretrained(tmp_path)
    loaded = load_whisper(f"whisper:{tmp_path}").eval()
    features = torch.from_numpy(extracted(voice(1.0)))[None]
    with torch.inference_mode():
        expected = whole.float().encoder(features).last_hidden_state
        states, _ = whisper_states(loaded, features, torch.tensor([3000]))
    assert torch.allclose(states[-1], expected, atol=1e-4)


def write_model(path, variables, version=6, spec=b"WhisperSpec\0"):
    """A model.bin as ctranslate2.specs.ModelSpec.save writes it."""
    numbers = {"float32": 0, "int8": 1, "int16": 2, "float16": 4, "uint16": 5}
    content = struct.pack("<IH", version, len(spec)) + spec + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        content += struct.pack("<H", len(name) + 1) + name.encode() + b"\0" + struct.pack("<B", value.ndim)
        content += struct.pack(f"<{value.ndim}I", *value.shape)
        content += struct.pack("<BI", numbers[value.dtype.name], value.nbytes) + value.tobytes()
    path.write_bytes(content + struct.pack("<I", 0))


def test_quantised_weights_are_divided_by_their_scales(tmp_path):
    variables = {
        "encoder/a/weight": np.array([[10, -20], [100, 127]], np.int8),
        "encoder/a/weight_scale": np.array([10, 100], np.float32),
        "encoder/conv/weight": np.array([[[2], [4]]], np.int8),
        "encoder/conv/weight_scale": np.array([2], np.float16),
        "encoder/b/weight": np.array([[512, 1024]], np.int16),
        "encoder/b/weight_scale": np.array(1024, np.float32),
        "encoder/c": np.array([1.5], np.float16),
        "encoder/d": np.array([0x3FC0], np.uint16),  # 1.5 as bfloat16
        "decoder/e": np.array([3.0], np.float32),
    }
    write_model(tmp_path / "model.bin", variables)
    weights = read_weights(tmp_path / "model.bin", "WhisperSpec", "encoder/")
    assert {name: value.tolist() for name, value in weights.items()} == {
        "a/weight": [[1.0, -2.0], [1.0, pytest.approx(1.27)]],
        "conv/weight": [[[1.0], [2.0]]],
        "b/weight": [[0.5, 1.0]],
        "c": [1.5],
        "d": [1.5],
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "the file is cut short"),
        (lambda path: write_model(path, {}, version=5), "holds WhisperSpec in format 5, not WhisperSpec in format 6"),
        (lambda path: write_model(path, {}, spec=b"TransformerSpec\0"), "holds TransformerSpec in format 6"),
        (lambda path: write_model(path, {"encoder/other": np.ones(2, np.float32)}), "conv1/weight"),
    ],
)
def test_a_model_that_cannot_be_read_is_one_line(damage, message, tmp_path):
    write_model(tmp_path / "model.bin", {"encoder/conv1/weight": np.ones((4, 80, 3), np.float32)})
    damage(tmp_path / "model.bin")
    with pytest.raises(InputError) as refused:
        new_model(f"whisper:{tmp_path}", "tiny", LABELS)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["whisper:/nowhere", "whisper:.", "whisper:a/b/c"])
def test_a_place_without_a_model_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no Whisper model in CTranslate2's format or in safetensors"):
        load_whisper(name)


def test_a_layer_that_whisper_lacks_is_refused():
    with pytest.raises(InputError, match="--layers 5: whisper has the layers 0, its blocks' input, to 4, its output"):
        new_model("whisper", "tiny", LABELS, PoolingSpec(5))
