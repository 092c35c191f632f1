import json

import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from training.errors import InputError
from training.features import Augment
from training.model import load_model, masked_mean, new_model, save_model, with_new_head

LABELS = ("anger", "joy", "sadness")
TINY = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [10, 8], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0,
}  # fmt: skip


def waves(samples=8000):
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.fixture
def tiny_encoder(tmp_path):
    def make(model_type, norm="layer"):
        config, model = {
            "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
            "hubert": (HubertConfig, HubertModel),
            "wavlm": (WavLMConfig, WavLMModel),
        }[model_type]
        torch.manual_seed(0)
        folder = tmp_path / model_type
        model(config(feat_extract_norm=norm, **TINY)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=model_type != "wavlm").save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize(("backbone", "parameters"), [("resnet50", 23_501_760), ("resnet18", 11_170_240)])
def test_resnets_are_the_published_ones_with_one_channel(backbone, parameters):
    # torchvision's ResNets without their last layer, less the two missing colours of the first convolution:
    # 23,508,032 - 6,272 and 11,176,512 - 6,272.
    model = new_model(backbone, "tiny", LABELS)
    assert sum(weight.numel() for weight in model.encoder.parameters()) == parameters
    with torch.inference_mode():
        assert model.eval()(waves(), torch.tensor([8000, 8000])).shape == (2, 3)


def test_masked_mean():
    hidden = torch.tensor([[[1.0], [3.0], [50.0]], [[2.0], [4.0], [6.0]]])
    assert masked_mean(hidden, torch.tensor([2, 3])).tolist() == [[2.0], [4.0]]


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
    lengths = torch.tensor([8000, 4800])
    together = model(waves(), lengths)
    alone = model(waves()[1:, :4800], torch.tensor([4800]))
    assert torch.allclose(together[1], alone[0], atol=1e-2)
    save_model(model, tmp_path / "saved")
    assert torch.allclose(load_model(tmp_path / "saved")(waves(), lengths), together, atol=1e-6)


def test_encoders_that_are_refused(tmp_path, tiny_encoder):
    folder = tiny_encoder("wav2vec2")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="nor an audio encoder in safetensors"):
        new_model(str(folder), "tiny", LABELS)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="a bert model; use one of wav2vec2, hubert, wavlm"):
        new_model(str(folder), "tiny", LABELS)


def test_models_that_do_not_load(tmp_path):
    with pytest.raises(InputError, match="no model there"):
        load_model(tmp_path)
    save_model(new_model("resnet10-half", "tiny", LABELS), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["features"]["hop"] = 320
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="a checkpoint of another feature set .hop 320 there, 160 here"):
        load_model(tmp_path)
