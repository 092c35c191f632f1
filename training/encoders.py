"""Encoders run so that a clip's output does not depend on the padding after it, nor on the clips beside it.

transformers' networks let padding leak in: a convolution near the end of a clip reads what biases and norms made of
the padding, group norm over time counts it. Here every layer that looks across time gets zeros beyond a clip's end,
which is what it reads beyond the end of a clip that stands alone. In training mode batch norm still shares its
statistics across a batch, as it is meant to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def inside(lengths: Tensor, width: int) -> Tensor:
    """True for the first ``lengths`` (batch,) of ``width`` steps, bool (batch, width)."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def greatest(lengths: Tensor, limit: int) -> int:
    """The greatest of ``lengths`` (batch,); in an exported graph, which knows shapes alone, ``limit``, its bound."""
    return limit if torch.compiler.is_compiling() else int(lengths.max())


def resnet_maps(encoder: Any, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature maps, (batch, channels, mels, time), and their steps per clip, int (batch,).

    ``encoder`` is a ResNetModel; ``features`` is float (batch, 1, mels, time), of which the first ``frames`` (batch,)
    belong to the clip. This is ResNetModel's forward pass with a mask before every layer that looks across time.
    """
    stem = encoder.embedder
    hidden, frames = _convolve(stem.embedder, features, frames)
    # Behind a ReLU, so the zeros of the mask never win over a value of the clip.
    hidden = stem.pooler(_masked(hidden, frames))
    frames = _strided(frames, stem.pooler.stride)
    for stage in encoder.encoder.stages:
        for block in stage.layers:
            shortcut = block.shortcut(hidden)
            for layer in block.layer:
                hidden, frames = _convolve(layer, hidden, frames)
            hidden = block.activation(hidden + shortcut)
    return hidden, frames


def _convolve(layer: Any, hidden: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """A ResNetConvLayer's output, and its steps per clip."""
    convolution = layer.convolution
    if convolution.kernel_size[1] > 1:
        hidden = _masked(hidden, frames)
    return layer(hidden), _strided(frames, convolution.stride[1])


def _masked(hidden: Tensor, frames: Tensor) -> Tensor:
    return hidden * inside(frames, hidden.shape[3])[:, None, None, :]


def _strided(frames: Tensor, stride: int) -> Tensor:
    """Steps per clip after ``stride``; kernels of odd size k are padded by k // 2, so the division rounds up."""
    return -(-frames // stride)


def encode_waves(encoder: Any, waves: Tensor, lengths: Tensor) -> tuple[Sequence[Tensor], Tensor]:
    """The hidden states of wav2vec 2.0, HuBERT or WavLM, (batch, time, width), and their steps per clip, int (batch,).

    They are the input of the first block and the output of every block; the last one is the encoder's output.

    ``encoder`` is a Wav2Vec2Model, HubertModel or WavLMModel; ``waves`` is float (batch, samples), zero beyond
    ``lengths`` (batch,).

    transformers recommends no attention mask for encoders with group norm, since they were trained on padding that
    they could not tell from silence. A clip that stands alone has no padding and needs no mask; with one, and with
    group norm over the clip alone, it gives the same output in a batch.
    """
    mask = inside(lengths, waves.shape[1])
    with _norms_of_each_clip(encoder, lengths):
        output = encoder(waves, attention_mask=mask.long(), output_hidden_states=True)
    return (*output.hidden_states[:-1], output.last_hidden_state), encoder._get_feat_extract_output_lengths(lengths)


@contextlib.contextmanager
def _norms_of_each_clip(encoder: Any, lengths: Tensor) -> Iterator[None]:
    """While open, norms over time see the steps of a clip, and none of the padding."""
    first = encoder.feature_extractor.conv_layers[0]
    hooks = []
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        kernel, stride = first.conv.kernel_size[0], first.conv.stride[0]
        steps = (1 + (lengths - kernel) // stride).tolist()
        hooks.append(first.layer_norm.register_forward_hook(lambda norm, args, _: _group_norm(norm, args[0], steps)))
    # Some HuBERTs (mHuBERT-147) normalise before the positional convolution, which turns zeros into something else.
    batch_norm = getattr(encoder.encoder.pos_conv_embed, "batch_norm", None)
    if batch_norm is not None:
        frames = encoder._get_feat_extract_output_lengths(lengths)
        hooks.append(
            batch_norm.register_forward_hook(lambda norm, _, hidden: hidden * inside(frames, hidden.shape[2])[:, None])
        )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _group_norm(norm: nn.GroupNorm, hidden: Tensor, steps: list[int]) -> Tensor:
    """``norm`` of the first ``steps`` of every clip in ``hidden`` (batch, channels, time), zero beyond them."""
    time = hidden.shape[2]
    rows = [
        nn.functional.group_norm(clip[None, :, :count], norm.num_groups, norm.weight, norm.bias, norm.eps)[0]
        for clip, count in zip(hidden, steps, strict=True)
    ]
    return torch.stack([nn.functional.pad(row, (0, time - row.shape[1])) for row in rows])
