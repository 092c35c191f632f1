"""What a text model's directory says of it: its classes, and whether its weights are safe to load.

Plain JSON and file names, so that a job can be checked without loading torch or transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lanser_ops.common.errors import InputError

SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class ModelFiles:
    """A transformers model directory. Error messages call it ``kind`` and end with ``advice``."""

    path: str
    kind: str
    advice: str

    def error(self, reason: str) -> InputError:
        """An error of one line that names the model, the reason and the remedy."""
        return InputError(f"{self.kind} {self.path!r} {reason}; {self.advice}")


@dataclass(frozen=True)
class ClassifierConfig:
    """``classes``: the names of the model's classes in index order; ``problem_type``: as transformers has it."""

    classes: tuple[str, ...]
    problem_type: str | None


def read_config(files: ModelFiles) -> ClassifierConfig:
    """The part of config.json that says what a sequence classifier predicts.

    As in transformers, a model that does not name its classes has ``num_labels`` of them (2 by default), called
    LABEL_0, LABEL_1, … Raises InputError for a config.json that cannot be read, and for a directory without
    safetensors weights: a pickle can run code.
    """
    directory = Path(files.path)
    try:
        content = json.loads((directory / "config.json").read_bytes())
        names = content.get("id2label") or {number: f"LABEL_{number}" for number in range(content.get("num_labels", 2))}
        by_index = {int(index): str(name) for index, name in names.items()}
        classes = tuple(by_index[index] for index in range(len(by_index)))
        problem_type = content.get("problem_type")
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise files.error(f"has a config.json that cannot be read ({reason})") from None
    if not any((directory / name).is_file() for name in SAFE_WEIGHTS):
        reason = "has no safetensors weights, and a pickle (pytorch_model.bin), which can run code, is never loaded"
        raise files.error(reason)
    return ClassifierConfig(classes, problem_type)
