"""The options that say which network is trained, and how much of it: the same for every command."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path

from lanser_ops.common.command import between, output_folder, positive, share
from lanser_ops.common.errors import InputError
from training.backbones import (
    LAST,
    MIDDLE,
    POOLINGS,
    RESNETS,
    WEIGHTED,
    WHISPER,
    Layers,
    PoolingSpec,
    check_backbone,
    is_whisper,
)

ALL = "all"
# By measurement: docs/backbones.md.
WHISPER_POOLING = PoolingSpec(MIDDLE, "meanstd")


@dataclass(frozen=True)
class ModelOptions:
    """What the options of `add_model_options` say.

    ``blocks`` of the encoder are trained, all of it for None; ``layer_decay`` is the ratio of their learning rates.
    ``cache`` is the folder of frozen features.
    """

    backbone: str
    pooling: PoolingSpec
    blocks: int | None
    layer_decay: float
    cache: Path | None

    @property
    def frozen(self) -> bool:
        return self.blocks == 0


def add_model_options(parser: argparse.ArgumentParser, default: str | None = None, trains: bool = True) -> None:
    """Add the options whose values `read_model_options` takes; only with ``trains`` those that concern training."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--backbone",
        default=default,
        metavar="NAME",
        help=f"{', '.join(RESNETS)}; {WHISPER}, which is the bundled one, or {WHISPER}:DIR_OR_ID, a faster-whisper or "
        "transformers model; or the directory or hub id of a wav2vec 2.0, HuBERT or WavLM",
    )
    group.add_argument(
        "--layers",
        type=_layers,
        metavar="WHICH",
        help=f"hidden states of the encoder that are read: {LAST}, {MIDDLE} (after half of its blocks), {WEIGHTED} "
        "(all, with learned weights), or a number from 0, the input of its first block; "
        f"default: {LAST}, {WHISPER_POOLING.layers} for {WHISPER}",
    )
    group.add_argument(
        "--pooling", choices=POOLINGS, help=f"over time; default: mean, {WHISPER_POOLING.pooling} for {WHISPER}"
    )
    group.add_argument("--hidden", type=positive(int), metavar="UNITS", help="a layer between pooling and the labels")
    group.add_argument(
        "--cache",
        type=output_folder,
        metavar="DIR",
        help="keep the features of frozen encoders here, for all runs to come",
    )
    if trains:
        trained = group.add_mutually_exclusive_group()
        trained.add_argument("--frozen", action="store_true", help="train what follows the encoder alone")
        trained.add_argument(
            "--unfreeze", type=_blocks, metavar="N", help=f"train the uppermost N blocks of the encoder, or {ALL}"
        )
        group.add_argument(
            "--layer-decay",
            type=share,
            metavar="RATIO",
            help="of the learning rate of a block to that of the one above it; default: 1",
        )


def add_step_options(container: argparse._ActionsContainer, *, warmup: float, crop_s: float) -> None:
    """Add the options of an optimizer step, with the defaults that differ between commands."""
    container.add_argument(
        "--lr", type=positive(float), metavar="RATE", help="peak learning rate; default: 1e-3, 3e-5 for audio encoders"
    )
    container.add_argument(
        "--weight-decay", type=between(0, math.inf), default=0.01, metavar="X", help="of AdamW, on matrices"
    )
    container.add_argument("--warmup", type=between(0, 1), default=warmup, metavar="SHARE", help="share of the steps")
    container.add_argument(
        "--crop-s", type=positive(float), default=crop_s, metavar="S", help="seconds of a clip that are trained on"
    )


def read_model_options(args: argparse.Namespace, checkpoint_backbone: str | None = None) -> ModelOptions:
    """The model options among ``args``; ``checkpoint_backbone`` is the backbone of a checkpoint that is continued.

    Raises InputError for options that do not go together.
    """
    backbone: str = checkpoint_backbone or args.backbone
    if backbone and not checkpoint_backbone:
        check_backbone(backbone)
    given = {name: getattr(args, name) for name in (field.name for field in fields(PoolingSpec))}
    given = {name: value for name, value in given.items() if value is not None}
    frozen, unfreeze, decay = (getattr(args, name, None) for name in ("frozen", "unfreeze", "layer_decay"))
    if checkpoint_backbone and given:
        raise InputError(f"--{next(iter(given))} with --checkpoint: the checkpoint decides; leave it out")
    if backbone in RESNETS:
        names = {"--unfreeze": unfreeze, "--layer-decay": decay, "--layers": given.get("layers", LAST) != LAST}
        for name, value in names.items():
            if value:
                raise InputError(f"{name}: {backbone} has no transformer blocks; leave {name} out")
    if decay is not None and frozen:
        raise InputError("--layer-decay with --frozen: no block is trained; leave one of them out")
    if args.cache and not frozen and hasattr(args, "frozen"):
        raise InputError("--cache keeps the features of a frozen encoder; add --frozen, or leave --cache out")
    default = WHISPER_POOLING if backbone and is_whisper(backbone) else PoolingSpec()
    blocks = 0 if frozen or not hasattr(args, "frozen") else None if unfreeze in (None, ALL) else unfreeze
    return ModelOptions(backbone, PoolingSpec(**{**vars(default), **given}), blocks, decay or 1.0, args.cache)


def _layers(text: str) -> Layers:
    if text in (LAST, MIDDLE, WEIGHTED):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither {LAST}, {MIDDLE}, {WEIGHTED} nor the number of a layer")
    return int(text)


def _blocks(text: str) -> int | str:
    if text == ALL:
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is neither a number of blocks nor {ALL}; for none there is --frozen")
    return int(text)
