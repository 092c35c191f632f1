"""A speech labeller that compares loudness. A model is a folder with config.json: {"quiet": "sad", "loud": "joy"}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef

LEVEL = 0.05  # The root mean square of samples that are neither quiet nor loud.


@dataclass(frozen=True)
class LoudnessLabeller:
    pool_seconds: float = 60.0

    def score(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        levels = np.array([np.sqrt(np.mean(np.square(samples))) for samples in clips])
        loud = levels / (levels + LEVEL)
        return np.stack([1 - loud, loud], axis=1)


def classes(model: ModelRef) -> tuple[str, ...]:
    config = json.loads(Path(model.path, "config.json").read_text())
    if config.keys() != {"quiet", "loud"}:
        raise InputError(f"--speech-model {model.id}: config.json must name an emotion for quiet and for loud")
    return config["quiet"], config["loud"]


def load(model: ModelRef, device: str, threads: int | None) -> LoudnessLabeller:
    return LoudnessLabeller()


def has_gpu() -> bool:
    return False
