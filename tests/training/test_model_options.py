from __future__ import annotations

from pathlib import Path

import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from training.backbones import PoolingSpec
from training.model_options import ModelOptions, add_model_options, read_model_options


def options(*arguments, checkpoint=None, trains=True):
    parser = Parser("test", "")
    add_model_options(parser, trains=trains)
    return read_model_options(parser.parse_args(arguments), checkpoint)


def test_defaults_depend_on_the_backbone():
    assert options("--backbone", "resnet18") == ModelOptions("resnet18", PoolingSpec(), None, 1.0, None)
    whisper = ModelOptions("whisper", PoolingSpec("middle", "meanstd"), None, 1.0, None)
    assert options("--backbone", "whisper") == whisper
    assert options("--backbone", "whisper:a/b").pooling == whisper.pooling


def test_what_is_given_holds():
    chosen = options(
        "--backbone", "whisper", "--layers", "2", "--pooling", "mean", "--hidden", "64", "--unfreeze", "3",
        "--layer-decay", "0.8",
    )  # fmt: skip
    assert chosen == ModelOptions("whisper", PoolingSpec(2, "mean", 64), 3, 0.8, None)
    assert options("--backbone", "whisper", "--unfreeze", "all").blocks is None
    frozen = options("--backbone", "resnet18", "--frozen", "--cache", "folder")
    assert (frozen.frozen, frozen.blocks, frozen.cache) == (True, 0, Path("folder"))


def test_a_checkpoint_brings_its_backbone():
    assert options("--frozen", checkpoint="resnet18").backbone == "resnet18"
    with pytest.raises(InputError, match="--unfreeze: resnet18 has no transformer blocks"):
        options("--unfreeze", "1", checkpoint="resnet18")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frozen", "--unfreeze", "1"], "not allowed with argument"),
        (["--backbone", "resnet18", "--unfreeze", "2"], "--unfreeze: resnet18 has no transformer blocks"),
        (["--backbone", "resnet50", "--unfreeze", "all"], "--unfreeze: resnet50 has no transformer blocks"),
        (["--backbone", "resnet18", "--layer-decay", "0.9"], "--layer-decay: resnet18 has no transformer blocks"),
        (["--backbone", "resnet18", "--layers", "weighted"], "--layers: resnet18 has no transformer blocks"),
        (["--backbone", "whisper", "--frozen", "--layer-decay", "0.9"], "--layer-decay with --frozen"),
        (["--backbone", "whisper", "--cache", "x"], "--cache keeps the features of a frozen encoder; add --frozen"),
        (["--layers", "first"], "first is neither last, middle, weighted nor the number of a layer"),
        (["--unfreeze", "0"], "0 is neither a number of blocks nor all; for none there is --frozen"),
        (["--layer-decay", "1.5"], "1.5 is not above 0 and at most 1"),
        (["--pooling", "max"], "'max' is not one of mean"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments, message):
    with pytest.raises(InputError) as refused:
        options(*arguments)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_checkpoint_decides_about_pooling():
    with pytest.raises(InputError, match="--pooling with --checkpoint: the checkpoint decides; leave it out"):
        options("--pooling", "mean", checkpoint="whisper")
