"""The networks: what they are, that padding does not reach a clip's embedding, and how they are saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from lanser_ops.common.errors import InputError
from training.backbones import AUDIO_ENCODERS, RESNETS
from training.classifier import embed_all
from training.encoders import resnet_maps
from training.features import Augment, pad
from training.model import load_model, new_model, save_model, with_new_head

CPU = torch.device("cpu")
LABELS = ("anger", "joy", "sadness")
SECONDS = (0.37, 0.8, 1.23, 2.0)
TINY = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [10, 8], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0,
}  # fmt: skip


def waves(samples=8000):
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def clips():
    """Noise of the lengths in SECONDS, the longest ten times as loud."""
    noise = np.random.default_rng(0).normal(0, 0.05, (len(SECONDS), 32000)).astype(np.float32)
    return [
        wave[: round(seconds * 16000)] * (1 + 9 * (seconds == 2.0))
        for wave, seconds in zip(noise, SECONDS, strict=True)
    ]


def randomise_norms(model):
    """Statistics, scales and biases as after training: fresh norms map zeros to zeros, trained ones do not."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return model


@pytest.fixture
def tiny_encoder(tmp_path):
    def make(model_type, norm="layer", **options):
        config, model = {
            "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
            "hubert": (HubertConfig, HubertModel),
            "wavlm": (WavLMConfig, WavLMModel),
        }[model_type]
        torch.manual_seed(0)
        folder = tmp_path / model_type
        encoder = randomise_norms(model(config(feat_extract_norm=norm, **TINY, **options)))
        encoder.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=model_type != "wavlm").save_pretrained(folder)
        return folder

    return make


@torch.inference_mode()
def check_neighbours(model):
    """A clip alone, in a batch with others, with a longer neighbour and with further padding gives one embedding."""
    model.eval()
    alone = torch.cat([model.embed(*pad([wave], len(wave))) for wave in clips()])
    together = model.embed(*pad(clips(), 32000))
    beside_longer = model.embed(*pad([clips()[0], clips()[3]], 32000))[0]
    padded = model.embed(*pad([clips()[0]], 50000))[0]
    assert (alone[0] - alone[1]).abs().max() > 0.01  # the embedding says something about the clip
    scale = alone.abs().max()
    for name, difference in {
        "in a batch": alone - together,
        "beside a longer clip": alone[0] - beside_longer,
        "padded": alone[0] - padded,
    }.items():
        assert difference.abs().max() < 1e-4 * max(1.0, scale), (name, difference.abs().amax(-1))
    assert torch.allclose(torch.cat([embed_all(model, [wave], CPU) for wave in clips()]), alone, atol=1e-4)
    assert torch.allclose(embed_all(model, clips(), CPU), alone, atol=1e-4)


@pytest.mark.parametrize("backbone", RESNETS)
def test_a_resnet_embeds_a_clip_alike_whatever_is_beside_it(backbone):
    torch.manual_seed(0)
    check_neighbours(randomise_norms(new_model(backbone, "tiny", LABELS)))


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("model_type", AUDIO_ENCODERS)
@pytest.mark.parametrize("stable", [False, True])
def test_an_audio_encoder_embeds_a_clip_alike_whatever_is_beside_it(model_type, norm, stable, tiny_encoder):
    check_neighbours(new_model(str(tiny_encoder(model_type, norm, do_stable_layer_norm=stable)), "tiny", LABELS))


def test_a_hubert_with_batch_norm_before_positions_embeds_a_clip_alike(tiny_encoder):
    check_neighbours(new_model(str(tiny_encoder("hubert", "group", conv_pos_batch_norm=True)), "tiny", LABELS))


def test_an_adapter_is_left_out(tiny_encoder):
    model = new_model(str(tiny_encoder("wav2vec2", add_adapter=True, output_hidden_size=16)), "tiny", LABELS)
    assert model.encoder.adapter is None
    check_neighbours(model)


@pytest.mark.parametrize("backbone", ["resnet10-quarter", "wav2vec2"])
def test_a_clip_shorter_than_a_frame_is_embedded_as_if_followed_by_silence(backbone, tiny_encoder):
    backbone = str(tiny_encoder(backbone, "group")) if backbone == "wav2vec2" else backbone
    model = new_model(backbone, "tiny", LABELS).eval()
    click = np.full(9, 0.1, np.float32)
    expected = model.embed(*pad([np.pad(click, (0, 1591))], 1600))
    assert torch.allclose(model.embed(*pad([click], 9)), expected, atol=1e-5)
    assert torch.allclose(model.embed(*pad([click, clips()[0]], 8000))[0], expected[0], atol=1e-4)


@pytest.mark.parametrize("backbone", ["resnet10-quarter", "wav2vec2"])
def test_gradients_pass_through_the_masks(backbone, tiny_encoder):
    backbone = str(tiny_encoder(backbone, "group")) if backbone == "wav2vec2" else backbone
    model = new_model(backbone, "tiny", LABELS).train()
    model(*pad(clips(), 32000)).square().sum().backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in trained)
    assert sum(weight.grad is not None and bool(weight.grad.any()) for weight in trained) > len(trained) // 2


@torch.inference_mode()
def test_a_resnet_without_padding_is_that_of_transformers():
    torch.manual_seed(0)
    model = randomise_norms(new_model("resnet18", "tiny", LABELS)).eval()
    features, frames, _ = model.features(waves(), torch.tensor([8000, 8000]))
    maps, steps = resnet_maps(model.encoder, features[:, None], frames)
    assert steps.tolist() == [2, 2] and maps.shape[3] == 2
    assert torch.allclose(maps, model.encoder(features[:, None]).last_hidden_state, atol=1e-4)


@pytest.mark.parametrize(("backbone", "parameters"), [("resnet50", 23_501_760), ("resnet18", 11_170_240)])
def test_resnets_are_the_published_ones_with_one_channel(backbone, parameters):
    # torchvision's ResNets without their last layer, less the two missing colours of the first convolution:
    # 23,508,032 - 6,272 and 11,176,512 - 6,272.
    model = new_model(backbone, "tiny", LABELS)
    assert sum(weight.numel() for weight in model.encoder.parameters()) == parameters
    with torch.inference_mode():
        assert model.eval()(waves(), torch.tensor([8000, 8000])).shape == (2, 3)


def test_save_and_load(tmp_path):
    model = new_model("resnet10-half", "tiny", LABELS).eval()
    save_model(model, tmp_path / "run" / "model")
    loaded = load_model(tmp_path / "run")
    assert (loaded.spec.labels, loaded.spec.taxonomy, loaded.training) == (LABELS, "tiny", False)
    lengths = torch.tensor([8000, 6000])
    assert torch.equal(model(waves(), lengths), loaded(waves(), lengths))


def test_augmentation_changes_the_embedding_as_the_draws_say():
    model = new_model("resnet10-half", "tiny", LABELS).eval()
    lengths, draws = torch.tensor([8000, 8000]), torch.full((2, 10), 0.6)
    plain = model.embed(waves(), lengths)
    changed = model.embed(waves(), lengths, draws, Augment())
    assert not torch.allclose(plain, changed)
    assert torch.equal(changed, model.embed(waves(), lengths, draws, Augment()))
    nothing = Augment(gain_db=0, time_masks=0, mel_masks=0)
    assert torch.allclose(plain, model.embed(waves(), lengths, draws, nothing))


def test_a_new_head_keeps_the_encoder():
    model = new_model("resnet10-half", "tiny", LABELS).eval()
    other = with_new_head(model, "ravdess", ("a", "b")).eval()
    lengths = torch.tensor([8000, 8000])
    assert torch.equal(model.embed(waves(), lengths), other.embed(waves(), lengths))
    assert other(waves(), lengths).shape == (2, 2)


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
def test_audio_encoders_from_a_directory(model_type, tiny_encoder, tmp_path):
    folder = tiny_encoder(model_type)
    model = new_model(str(folder), "tiny", LABELS).eval()
    assert model.spec.normalise == (model_type != "wavlm")
    assert not any(weight.requires_grad for weight in model.encoder.feature_extractor.parameters())
    lengths = torch.tensor([8000, 8000])
    together = model(waves(), lengths)
    save_model(model, tmp_path / "saved")
    assert torch.allclose(load_model(tmp_path / "saved")(waves(), lengths), together, atol=1e-6)


def test_encoders_that_are_refused(tmp_path, tiny_encoder):
    folder = tiny_encoder("wav2vec2")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="neither one of resnet50, .*, whisper nor an audio encoder in safetensors"):
        new_model(str(folder), "tiny", LABELS)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="a bert model; use one of wav2vec2, hubert, wavlm"):
        new_model(str(folder), "tiny", LABELS)


@pytest.fixture
def saved(tmp_path):
    save_model(new_model("resnet10-quarter", "tiny", LABELS), tmp_path / "run" / "model")
    return tmp_path / "run"


def test_models_that_do_not_load(saved, tmp_path):
    with pytest.raises(InputError, match="holds no model; give the output of lanser pretrain or finetune"):
        load_model(tmp_path)
    config = json.loads((saved / "model" / "config.json").read_text())
    config["features"]["hop"] = 320
    (saved / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="a checkpoint of another feature set .hop is 320, now 160"):
        load_model(saved)
    (saved / "model" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="no model"):
        load_model(saved)


@pytest.mark.parametrize("damage", [lambda content: content[:-1000], lambda content: b"", lambda content: b"x" * 500])
def test_corrupt_weights_are_one_line_with_the_file(damage, saved):
    path = saved / "model" / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as refused:
        load_model(saved)
    message = str(refused.value)
    assert message.startswith(f"{path}: the weights cannot be read (") and "\n" not in message


@pytest.mark.parametrize(
    "values",
    [{"labels": ["joy", "joy", "fear"]}, {"labels": [1, 2, 3]}, {"gain_db": "loud"}, {"band_hz": float("inf")}],
)
def test_a_configuration_that_was_never_saved_is_refused(values, saved):
    path = saved / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(InputError, match="no model"):
        load_model(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    model = load_model(saved)
    torch.nn.init.constant_(model.head.bias, float("nan"))
    save_model(model, saved / "model")
    with pytest.raises(InputError, match="model.safetensors: has weights that are not finite; train it again"):
        load_model(saved)


def test_weights_of_another_network_are_refused(saved):
    save_model(new_model("resnet10-half", "tiny", LABELS), saved / "other")
    (saved / "other" / "model.safetensors").rename(saved / "model" / "model.safetensors")
    with pytest.raises(InputError, match="the weights cannot be read .Error.s. in loading state_dict"):
        load_model(saved)


def test_corrupt_weights_of_an_encoder_are_one_line(tiny_encoder):
    folder = tiny_encoder("wav2vec2")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError) as refused:
        new_model(str(folder), "tiny", LABELS)
    message = str(refused.value)
    assert message.startswith(f"{folder}: neither one of resnet50") and "\n" not in message


def test_an_encoder_that_lacks_weights_is_refused(tiny_encoder):
    folder = tiny_encoder("wav2vec2")
    weights = load_file(folder / "model.safetensors")
    lacking = {name: value for name, value in weights.items() if not name.startswith("encoder.layers.0.attention")}
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks 8 weights, encoder.layers.0.attention.k_proj.bias first"):
        new_model(str(folder), "tiny", LABELS)


def test_published_names_of_the_positional_weights_are_understood(tiny_encoder):
    """Checkpoints from before torch's parametrizations name them weight_g and weight_v; masked_spec_embed may lack."""
    folder = tiny_encoder("wav2vec2")
    expected = new_model(str(folder), "tiny", LABELS).encoder.encoder.pos_conv_embed.conv.weight
    prefix = "encoder.pos_conv_embed.conv."
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = load_file(folder / "model.safetensors")
    for new, old in names.items():
        weights[prefix + old] = weights.pop(prefix + new)
    weights.pop("masked_spec_embed", None)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(new_model(str(folder), "tiny", LABELS).encoder.encoder.pos_conv_embed.conv.weight, expected)
