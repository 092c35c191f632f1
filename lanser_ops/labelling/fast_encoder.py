"""A transformers sequence classifier made faster on x86 CPUs, for batches without padding.

Nothing here changes the logits, beyond the order in which float32 sums are rounded.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

# Encoders with BERT's layers (Devlin et al. 2019), whose heads read only the first token of the last layer.
BERT_LIKE = ("bert", "roberta", "xlm-roberta")


def speed_up(model: transformers.PreTrainedModel) -> None:
    """Change ``model`` in place for inference without an attention mask; its inputs and logits stay the same.

    On x86 CPUs the weights of linear layers are packed for oneDNN once, instead of for every product, and encoders
    like BERT's run without the modules between their products (measured by benchmarks/entailment.py).
    """
    if model.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return
    if not torch.backends.mkldnn.is_available():
        return
    if model.config.model_type in BERT_LIKE and model.config.hidden_act == "gelu":
        base: Any = model.base_model
        base.encoder = _Encoder(model.config, base.encoder.layer)
    _pack_linears(model)


def _pack(weight: Tensor) -> Tensor:
    """``weight`` (out, in) in oneDNN's blocked layout, the way torch's inductor packs it for inference."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)


def _linear(inputs: Tensor, packed: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, activation, [], "none")


def _linear_plus(inputs: Tensor, packed: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(inputs, other, packed, bias, "add")


class _PackedLinear(nn.Module):
    """nn.Linear with packed weights: a tenth faster than F.linear, whose float32 products are MKL's."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.packed, self.bias = _pack(linear.weight), linear.bias
        # Some architectures look up the dtype of a layer's weight; the values are only in ``packed``.
        self.weight = linear.weight.detach().new_empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        return _linear(inputs, self.packed, self.bias)


def _pack_linears(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, _PackedLinear(child))
        else:
            _pack_linears(child)


class _Encoder(nn.Module):
    """BERT's layers: one product for queries, keys and values, and activation and residual inside the products.

    Of the last layer only the first token is computed, as the head reads no other. That saves a ninth of the work of
    a six-layer model, 1/36 of 24 layers.
    """

    def __init__(self, config: transformers.PreTrainedConfig, layers: Iterable[nn.Module]):
        super().__init__()
        self.heads, self.epsilon = config.num_attention_heads, config.layer_norm_eps
        *before, last = layers
        self.layers, self.last = [_Layer(layer) for layer in before], _Layer(last, is_last=True)

    def forward(self, hidden_states: Tensor, *args: object, **options: object) -> transformers.utils.ModelOutput:
        """``hidden_states`` (rows, tokens, width) to (rows, 1, width)."""
        for layer in self.layers:
            hidden_states = self._run(layer, hidden_states, hidden_states)
        first = self._run(self.last, hidden_states, hidden_states[:, :1].contiguous())
        return transformers.modeling_outputs.BaseModelOutputWithPastAndCrossAttentions(first)

    def _run(self, layer: _Layer, inputs: Tensor, queried: Tensor) -> Tensor:
        """``layer`` for the tokens in ``queried``, which attend to all of ``inputs``."""
        rows, tokens, width = inputs.shape
        if layer.query_key_value:
            query, key, value = _linear(inputs, *layer.query_key_value).view(rows, tokens, 3, self.heads, -1).unbind(2)
        else:
            query = _linear(queried, *layer.query).view(rows, -1, self.heads, width // self.heads)
            key, value = _linear(inputs, *layer.key_value).view(rows, tokens, 2, self.heads, -1).unbind(2)
        mixed = scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        mixed = mixed.transpose(1, 2).reshape(queried.shape)
        attended = layer_norm(_linear_plus(mixed, *layer.mix, queried), (width,), *layer.mix_norm, self.epsilon)
        wide = _linear(attended, *layer.widen, "gelu")
        return layer_norm(_linear_plus(wide, *layer.narrow, attended), (width,), *layer.narrow_norm, self.epsilon)


class _Layer:
    """The weights of one layer: (packed, bias) of its products, (weight, bias) of its norms.

    In the last layer there are fewer queries than keys, so queries are a separate product there.
    """

    def __init__(self, layer: Any, is_last: bool = False):
        query, key, value = (getattr(layer.attention.self, name) for name in ("query", "key", "value"))
        self.query_key_value = None if is_last else _packed_rows(query, key, value)
        if is_last:
            self.query, self.key_value = _packed_rows(query), _packed_rows(key, value)
        self.mix = _packed_rows(layer.attention.output.dense)
        self.mix_norm = (layer.attention.output.LayerNorm.weight, layer.attention.output.LayerNorm.bias)
        self.widen, self.narrow = _packed_rows(layer.intermediate.dense), _packed_rows(layer.output.dense)
        self.narrow_norm = (layer.output.LayerNorm.weight, layer.output.LayerNorm.bias)


def _packed_rows(*linears: nn.Linear) -> tuple[Tensor, Tensor]:
    """The layers as a single one that gives their outputs side by side: its packed weight and its bias."""
    return _pack(torch.cat([layer.weight for layer in linears])), torch.cat([layer.bias for layer in linears])
