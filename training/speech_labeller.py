"""The backend ``lanser`` of ``--speech-model``: the model that `lanser finetune` exports, RUN/model.

lanser_ops loads it by its entry point and imports nothing of training. Its functions are those of
`lanser_ops.speech_labelling.base.SpeechBackend`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef

# Seconds of audio that are held and sorted by length at once.
POOL_SECONDS = {"cpu": 120.0, "cuda": 2400.0}


@dataclass(frozen=True)
class EmotionScorer:
    """A loaded `EmotionModel`, the torch device that it runs on, and `training.classifier.probabilities`.

    The scores of a clip depend on its neighbours by rounding errors alone.
    """

    probabilities: Callable[..., Any]
    model: Any
    device: Any
    pool_seconds: float

    def score(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Label probabilities, float32 (clips, labels), of ``clips``, each float32 (samples,) at 16 kHz."""
        return self.probabilities(self.model, clips, self.device).numpy()


def classes(model: ModelRef) -> tuple[str, ...]:
    """The labels of the model. Raises InputError, one line, for a directory that lanser did not write."""
    try:
        labels = json.loads(Path(model.path, "config.json").read_bytes())["labels"]
        if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
            raise ValueError("its labels are not a list of names")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--speech-model {model.id}: not a model of lanser ({error}); give RUN/model of lanser finetune"
        ) from None
    return tuple(labels)


def load(model: ModelRef, device: str, threads: int | None) -> EmotionScorer:
    """Load the model from its path. Sets torch's intra-op threads on a CPU. Raises InputError for corrupt weights."""
    try:
        import torch

        from training.classifier import probabilities
        from training.model import load_model
    except ModuleNotFoundError as error:
        raise InputError(
            f"--speech-model {model.id}: {error.name} is not installed; pip install 'lanser[train]'"
        ) from None
    place = resolve_device(device)
    if place == "cpu":
        torch.set_num_threads(threads or os.cpu_count() or 1)
    return EmotionScorer(probabilities, load_model(model.path), torch.device(place), POOL_SECONDS[place])


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"
