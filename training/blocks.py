"""How much of an encoder is trained, and at which learning rates."""

from __future__ import annotations

from typing import Any

from torch import nn

from lanser_ops.common.errors import InputError
from training.backbones import WHISPER


def blocks_of(encoder: Any) -> nn.ModuleList | None:
    """The transformer blocks of ``encoder``, a transformers model, lowest first; None for a ResNet."""
    if encoder.config.model_type == "resnet":
        return None
    return encoder.layers if encoder.config.model_type == WHISPER else encoder.encoder.layers


def open_blocks(model: Any, blocks: int | None) -> None:
    """Let the uppermost ``blocks`` of an EmotionModel's encoder be trained, all of it for None, none of it for 0.

    Blocks above the layers that are read do not count: nothing that they compute is used.

    Raises InputError if the encoder has fewer blocks.
    """
    encoder = model.encoder
    layers = blocks_of(encoder)
    count = 0 if layers is None else max(model.layers)
    if blocks and blocks > count:
        raise InputError(f"--unfreeze {blocks}: {model.spec.backbone} is read after {count} blocks; open fewer, or all")
    encoder.requires_grad_(blocks is None)
    if layers is not None:
        if blocks:
            layers[count - blocks : count].requires_grad_(True)
            _output_norm(encoder).requires_grad_(True)
        layers[count:].requires_grad_(False)
        if count < len(layers):
            _output_norm(encoder).requires_grad_(False)
    if encoder.config.model_type == WHISPER:  # sinusoids, which are constants
        encoder.embed_positions.requires_grad_(False)
    elif layers is not None:  # the papers of these encoders fine-tune them with the convolutions frozen
        encoder.feature_extractor._freeze_parameters()


def rate_scales(model: Any, decay: float) -> dict[str, float]:
    """The learning rate of every parameter of ``model``, an EmotionModel, that is trained, relative to the peak rate.

    It is multiplied by ``decay`` from what follows the encoder to its uppermost block, and from each block to the one
    below it (Clark et al. 2020, arXiv 2003.10555).
    """
    layers = blocks_of(model.encoder)
    count = 0 if layers is None else max(model.layers)
    scales = {id(weight): 1.0 for weight in model.parameters()}
    if layers is not None:
        scales |= {id(weight): decay ** (count + 1) for weight in model.encoder.parameters()}
        scales |= {id(weight): decay for weight in _output_norm(model.encoder).parameters()}
        for number, block in enumerate(layers[:count]):
            scales |= {id(weight): decay ** (count - number) for weight in block.parameters()}
    return {name: scales[id(weight)] for name, weight in model.named_parameters() if weight.requires_grad}


def _output_norm(encoder: Any) -> nn.Module:
    """The norm after the uppermost block, or an empty module: some encoders have theirs before the lowest."""
    if encoder.config.model_type == WHISPER:
        return encoder.layer_norm
    return encoder.encoder.layer_norm if encoder.config.do_stable_layer_norm else nn.Identity()
