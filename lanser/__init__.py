"""LanSER as a Python library: weak emotion labels for speech, and models that learn from them.

These names are what other programs may rely on. ``import lanser`` loads none of the libraries behind them; Beam, torch
and the models are imported at first use. What the user can fix is raised as `InputError`, one line each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lanser.jobs import build, relabel
from lanser.prediction import Prediction, predict
from lanser.samples import Sample, load_shards
from lanser.texts import TextLabel, label_texts
from lanser_ops.common.errors import InputError

if TYPE_CHECKING:
    from pipelines.transforms import Label, Score, Transcribe, WriteShards
    from training.model import load_model

__all__ = [
    "InputError",
    "Label",
    "Prediction",
    "Sample",
    "Score",
    "TextLabel",
    "Transcribe",
    "WriteShards",
    "build",
    "label_texts",
    "load_model",
    "load_shards",
    "predict",
    "relabel",
]


def __getattr__(name: str) -> Any:
    """The names that load Beam or torch."""
    if name in ("Label", "Score", "Transcribe", "WriteShards"):
        from pipelines import transforms

        return getattr(transforms, name)
    if name == "load_model":
        from training.model import load_model

        return load_model
    raise AttributeError(f"module 'lanser' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
