"""Which networks there are to choose from. Imports neither torch nor transformers, for the help of the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanser_ops.common.errors import InputError
from schemas.suggestions import did_you_mean

# transformers' names of the audio encoders that can be trained.
AUDIO_ENCODERS = ("wav2vec2", "hubert", "wavlm")
# The bundled Whisper; followed by a colon and a directory or hub id, that one.
WHISPER = "whisper"

# He et al. 2016, table 1; a resnet10 has one basic block per stage, at half and a quarter of the width, for CPUs.
RESNETS: dict[str, dict[str, Any]] = {
    "resnet50": {
        "layer_type": "bottleneck", "embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]
    },
    "resnet18": {"layer_type": "basic", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2] * 4},
    "resnet10-half": {
        "layer_type": "basic", "embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [1] * 4
    },
    "resnet10-quarter": {
        "layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4
    },
}  # fmt: skip

# Which hidden states of an encoder are read: the last, the one after half of the blocks, all with learned weights, or
# the one of a number.
LAST, MIDDLE, WEIGHTED = "last", "middle", "weighted"
Layers = str | int
POOLINGS = ("mean", "meanstd", "attention")


@dataclass(frozen=True)
class PoolingSpec:
    """Which layers of an encoder are read, how they are pooled over time, and the units of a layer after it, or 0."""

    layers: Layers = LAST
    pooling: str = "mean"
    hidden: int = 0


def is_whisper(backbone: str) -> bool:
    return backbone == WHISPER or backbone.startswith(f"{WHISPER}:")


def check_backbone(backbone: str) -> None:
    """Raise InputError for a name that is neither one of ours, nor a directory, nor of the form of a hub id."""
    place = backbone.removeprefix(f"{WHISPER}:")
    known = (*RESNETS, WHISPER)
    if backbone in known or Path(place).is_dir():
        return
    if place.startswith((".", "/", "~")) or place.count("/") > 1:
        raise InputError(f"--backbone {backbone}: no such directory")
    if "/" not in place:
        raise InputError(
            f"--backbone {backbone}: none of {', '.join(known)}, nor a directory, nor a hub id such as "
            f"microsoft/wavlm-base{did_you_mean(backbone, known)}"
        )


def peak_rate(is_resnet: bool) -> float:
    """The default peak learning rate: of a network that starts from random weights, or of a pretrained encoder."""
    return 1e-3 if is_resnet else 3e-5
