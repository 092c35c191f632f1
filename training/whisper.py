"""Whisper's encoder (Radford et al. 2022) in torch, from CTranslate2's or transformers' weights, and its log-mel.

Windows are as short as the clips. What follows a clip is at the floor of its log-mel, as in Whisper's own windows of
30 s, but is neither computed nor attended to.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, WhisperConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperModel

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.bundled import bundled_whisper
from lanser_ops.common.errors import InputError, first_line
from training.backbones import WHISPER
from training.ctranslate2_weights import read_weights
from training.encoders import greatest, inside

N_FFT, HOP = 400, 160
# Below a clip's loudest band and frame, in powers of ten.
RANGE = 8.0
# The least power that has a logarithm.
FLOOR = 1e-10
HEAD_WIDTH = 64
# The second convolution halves the frames.
STRIDE = 2
FILES = ["config.json", "model.bin", "*.safetensors", "model.safetensors.index.json"]


class WhisperMel(nn.Module):
    """Waveforms to the log-mel of Whisper's feature extractor, in windows as short as the clips."""

    def __init__(self, bands: int):
        super().__init__()
        filters = mel_filter_bank(N_FFT // 2 + 1, bands, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, "slaney", "slaney")
        self.filters: Tensor
        self.window: Tensor
        self.register_buffer("filters", torch.from_numpy(filters.T.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, float32 (batch, bands, time), the frames per clip, int (batch,), and the clips' floors, (batch,).

        ``waves`` is float (batch, samples), zero beyond ``lengths``, int (batch,). The longest clip is
        followed by frames of silence, which the convolutions read beyond its end.
        """
        frames = -(-lengths // HOP)
        width = greatest(frames, -(-waves.shape[1] // HOP)) + STRIDE
        samples = width * HOP + N_FFT // 2
        waves = nn.functional.pad(waves, (0, max(0, samples - waves.shape[1])))[:, :samples]
        # Half precision would lose the quiet bands.
        with torch.autocast(device_type=waves.device.type, enabled=False):
            spectrum = torch.stft(
                waves.float(), N_FFT, HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True
            )[:, :, :width]
            power = spectrum.real.square() + spectrum.imag.square()
            logarithm = torch.log10(torch.matmul(self.filters, power).clamp(min=FLOOR))
        floors = (logarithm.amax(dim=(1, 2)) - RANGE).clamp(min=math.log10(FLOOR))
        features = torch.maximum(logarithm, floors[:, None, None])
        return (features + 4) / 4, frames, (floors + 4) / 4


def whisper_states(
    encoder: WhisperEncoder, features: Tensor, frames: Tensor, blocks: int | None = None
) -> tuple[list[Tensor], Tensor]:
    """The input of the first block and the output of every block, (batch, steps, width), and the steps per clip.

    ``features`` is float (batch, bands, time), of which the first ``frames``, int (batch,), belong to a clip. The
    lowest ``blocks`` are computed, by default all; the state after the uppermost of all is normalised, as the encoder's
    output is. This is WhisperEncoder's forward pass with positions for as many steps as there are, and a mask that
    hides what follows a clip.

    Raises ValueError for clips that are longer than the encoder's window.
    """
    steps = -(-frames // STRIDE)
    width = greatest(steps, (features.shape[2] - 1) // STRIDE)
    if width > encoder.max_source_positions:
        raise ValueError(f"a clip of {width * STRIDE * HOP / SAMPLE_RATE:.1f} s: Whisper encodes 30 s at most")
    gelu = nn.functional.gelu
    hidden = gelu(encoder.conv2(gelu(encoder.conv1(features))))[:, :, :width].transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[:width]
    outside = ~inside(steps, width)[:, None, None, :]
    mask = torch.zeros_like(outside, dtype=hidden.dtype).masked_fill(outside, torch.finfo(hidden.dtype).min)
    states = [hidden]
    for block in encoder.layers[:blocks]:
        states.append(block(states[-1], mask))
    if len(states) > len(encoder.layers):
        states[-1] = encoder.layer_norm(states[-1])
    return states, steps


def load_whisper(backbone: str) -> WhisperEncoder:
    """The encoder of ``backbone``: WHISPER for the bundled model, or WHISPER, a colon and a directory or hub id.

    A directory holds a faster-whisper (CTranslate2) model or a transformers model in safetensors.

    Raises InputError if there is no such model.
    """
    name = backbone.removeprefix(f"{WHISPER}:")
    try:
        folder = bundled_whisper(f"--backbone {WHISPER}") if name == WHISPER else _folder(name)
        if (folder / "model.bin").is_file():
            return _from_ctranslate2(folder / "model.bin")
        return _from_transformers(folder)
    except InputError:
        raise
    except Exception as error:  # the hub client and the readers of configurations raise dozens of types
        raise InputError(
            f"{backbone}: no Whisper model in CTranslate2's format or in safetensors: {first_line(error)}"
        ) from None


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ValueError("no such directory")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=FILES))


def _from_transformers(folder: Path) -> WhisperEncoder:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not isinstance(config, WhisperConfig):
        raise ValueError(f"a {config.model_type} model")
    is_encoder = config.architectures == [WhisperEncoder.__name__]
    model, report = (WhisperEncoder if is_encoder else WhisperModel).from_pretrained(
        folder, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(name for name in report["missing_keys"] if is_encoder or name.startswith("encoder."))
    if missing:
        raise ValueError(f"it lacks {len(missing)} weights, {missing[0]} first")
    return model if is_encoder else model.encoder


def _from_ctranslate2(path: Path) -> WhisperEncoder:
    weights = read_weights(path, "WhisperSpec", "encoder/")
    width, bands, _ = weights["conv1/weight"].shape
    layers = 1 + max(int(match[1]) for name in weights if (match := re.match(r"layer_(\d+)/", name)))
    config = WhisperConfig(
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=int(weights.get("num_heads", width // HEAD_WIDTH)),
        encoder_ffn_dim=weights["layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=weights["position_encodings/encodings"].shape[0],
    )
    encoder = WhisperEncoder(config)
    encoder.load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in _named_as_in_transformers(weights, layers).items()}
    )
    return encoder


def _named_as_in_transformers(weights: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    named = {"embed_positions.weight": weights["position_encodings/encodings"]}

    def add(name: str, source: str, weight: str = "weight", bias: str = "bias") -> None:
        named[f"{name}.weight"] = weights[f"{source}/{weight}"]
        named[f"{name}.bias"] = weights[f"{source}/{bias}"]

    add("conv1", "conv1")
    add("conv2", "conv2")
    add("layer_norm", "layer_norm", "gamma", "beta")
    for number in range(layers):
        source, name = f"layer_{number}", f"layers.{number}"
        # The three projections are one matrix. That of the keys has no bias in Whisper, and zeros here.
        for letter, weight, bias in zip(
            "qkv",
            np.split(weights[f"{source}/self_attention/linear_0/weight"], 3),
            np.split(weights[f"{source}/self_attention/linear_0/bias"], 3),
            strict=True,
        ):
            named[f"{name}.self_attn.{letter}_proj.weight"] = weight
            if letter != "k":
                named[f"{name}.self_attn.{letter}_proj.bias"] = bias
        add(f"{name}.self_attn.out_proj", f"{source}/self_attention/linear_1")
        add(f"{name}.self_attn_layer_norm", f"{source}/self_attention/layer_norm", "gamma", "beta")
        add(f"{name}.final_layer_norm", f"{source}/ffn/layer_norm", "gamma", "beta")
        add(f"{name}.fc1", f"{source}/ffn/linear_0")
        add(f"{name}.fc2", f"{source}/ffn/linear_1")
    return named
