from __future__ import annotations

import pytest

from lanser_ops.common.errors import InputError
from training.backbones import PoolingSpec
from training.blocks import open_blocks, rate_scales
from training.model import EmotionModel, new_model


@pytest.fixture(scope="module")
def whisper():
    return new_model("whisper", "tiny", ("a", "b"))


def opened(model: EmotionModel) -> set[str]:
    """The parts of the encoder that are trained."""
    names = (name for name, weight in model.encoder.named_parameters() if weight.requires_grad)
    return {".".join(name.split(".")[: 2 if name.startswith("layers.") else 1]) for name in names}


def test_what_is_trained(whisper):
    open_blocks(whisper, 0)
    assert opened(whisper) == set()
    open_blocks(whisper, 2)
    assert opened(whisper) == {"layers.2", "layers.3", "layer_norm"}
    open_blocks(whisper, None)
    everything = {"conv1", "conv2", "layers.0", "layers.1", "layers.2", "layers.3", "layer_norm"}
    assert opened(whisper) == everything  # but for the positions, which are constants


def test_blocks_above_the_layer_that_is_read_do_not_count(whisper):
    spec = PoolingSpec(layers=2)
    lower = EmotionModel(whisper.spec.__class__(**{**vars(whisper.spec), **vars(spec)}), whisper.encoder)
    assert opened(lower) == {"conv1", "conv2", "layers.0", "layers.1"}
    open_blocks(lower, 1)
    assert opened(lower) == {"layers.1"}
    with pytest.raises(InputError, match="--unfreeze 3: whisper is read after 2 blocks; open fewer, or all"):
        open_blocks(lower, 3)


def test_learning_rates_fall_from_block_to_block(whisper):
    open_blocks(whisper, None)
    scales = rate_scales(whisper, 0.5)
    expected = {
        "head.weight": 1.0, "encoder.layer_norm.weight": 0.5, "encoder.layers.3.fc1.weight": 0.5,
        "encoder.layers.2.fc1.weight": 0.25, "encoder.layers.0.fc1.weight": 0.0625, "encoder.conv1.weight": 0.03125,
    }  # fmt: skip
    assert {name: scales[name] for name in expected} == expected
    assert set(rate_scales(whisper, 1.0).values()) == {1.0}


def test_a_resnet_has_one_rate():
    model = new_model("resnet10-quarter", "tiny", ("a", "b"))
    assert set(rate_scales(model, 1.0).values()) == {1.0}
    assert len(rate_scales(model, 1.0)) == len(list(model.parameters()))
