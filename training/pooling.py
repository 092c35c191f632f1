"""From the hidden states of an encoder to one vector per clip: layers, pooling over time, standardisation.

What depends on the encoder and the clip alone is a `summary`, which can be stored; what is learned comes after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lanser_ops.common.errors import InputError
from training.backbones import LAST, MIDDLE, WEIGHTED, Layers
from training.encoders import inside

# Attention weighs segments of this many steps, 0.1 s of Whisper's: a fifth of the memory, and nothing lost.
SEGMENT = 5
EPSILON = 1e-5


class Pooling(nn.Module):
    """Pools hidden states over time and layers; what it learns is the weights of the layers and of the segments.

    ``layers`` counts the hidden states of a summary, ``width`` their channels. ``pooling`` is one of
    training.backbones.POOLINGS; with ``hidden``, a layer of that many rectified units follows. ``out_width`` is the
    width of the result.
    """

    def __init__(self, layers: int, width: int, pooling: str, hidden: int):
        super().__init__()
        self.pooling = pooling
        size = 2 * width if pooling == "meanstd" else width
        self.layer_logits = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.attention = nn.Linear(width, 1) if pooling == "attention" else None
        self.hidden = nn.Linear(size, hidden) if hidden else None
        self.out_width = hidden or size
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(layers, size))
        self.register_buffer("scale", torch.ones(layers, size))

    def summarise(self, states: Sequence[Tensor], steps: Tensor) -> tuple[Tensor, Tensor]:
        """The summary of clips, float32, and its segments per clip, int (batch,).

        ``states`` are (batch, time, width), of which the first ``steps``, int (batch,), belong to a clip. The summary
        is (batch, segments, layers, size), zero beyond a clip; without attention a clip is one segment.
        """
        with torch.autocast(states[0].device.type, enabled=False):
            hidden = torch.stack([state.float() for state in states], dim=2)
            hidden = hidden * inside(steps, hidden.shape[1])[:, :, None, None]
            if self.attention is None:
                mean = hidden.sum(dim=1, keepdim=True) / steps[:, None, None, None]
                if self.pooling == "mean":
                    return mean, torch.ones_like(steps)
                deviation = (hidden - mean) * inside(steps, hidden.shape[1])[:, :, None, None]
                variance = deviation.square().sum(dim=1, keepdim=True) / steps[:, None, None, None]
                return torch.cat([mean, torch.sqrt(variance + EPSILON)], dim=3), torch.ones_like(steps)
            segments = -(-steps // SEGMENT)
            batch, time, *rest = hidden.shape
            width = -(-time // SEGMENT)
            hidden = nn.functional.pad(hidden, (0, 0, 0, 0, 0, width * SEGMENT - time))
            starts = torch.arange(width, device=steps.device) * SEGMENT
            counts = (steps[:, None] - starts).clamp(1, SEGMENT)
            return hidden.view(batch, width, SEGMENT, *rest).sum(dim=2) / counts[:, :, None, None], segments

    def forward(self, summary: Tensor, segments: Tensor) -> Tensor:
        """One vector per clip, float (batch, out_width), of what `summarise` returns."""
        return self.mix((summary - self.centre) / self.scale, segments)

    def mix(self, standardised: Tensor, segments: Tensor) -> Tensor:
        """`forward` of summaries that are standardised."""
        if self.layer_logits is None:
            mixed = standardised[:, :, 0]
        else:
            mixed = torch.matmul(torch.softmax(self.layer_logits, dim=0), standardised)
        if self.attention is None:
            vector = mixed[:, 0]
        else:
            logits = self.attention(mixed)[:, :, 0]
            logits = logits.masked_fill(~inside(segments, logits.shape[1]), torch.finfo(logits.dtype).min)
            vector = torch.einsum("bs,bsn->bn", torch.softmax(logits, dim=1), mixed)
        return vector if self.hidden is None else torch.relu(self.hidden(vector))

    @torch.no_grad()
    def standardise(self, summary: Tensor, segments: Tensor) -> None:
        """From now on, bring summaries to zero mean and unit variance over these, in every layer and channel."""
        active = summary[inside(segments, summary.shape[1])].double()
        self.centre.copy_(active.mean(dim=0))
        self.scale.copy_(active.std(dim=0, correction=0) + EPSILON)


def layers_of(layers: Layers, states: int, backbone: str) -> tuple[int, ...]:
    """The numbers of the hidden states, of ``states``, that the option ``layers`` selects.

    Raises InputError for a layer that the encoder does not have.
    """
    if layers == LAST:
        return (states - 1,)
    if layers == MIDDLE:
        return (states // 2,)
    if layers == WEIGHTED:
        return tuple(range(states))
    if not 0 <= int(layers) < states:
        raise InputError(
            f"--layers {layers}: {backbone} has the layers 0, its blocks' input, to {states - 1}, its output"
        )
    return (int(layers),)
