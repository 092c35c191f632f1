"""Checkpoints: weights as safetensors, the optimizer's state, and the run's position in the data.

A checkpoint is written under a temporary name and renamed, so one that exists is complete. It holds no generator
states: everything random is seeded by step or by sample.
"""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lanser_ops.common.errors import InputError, first_line
from training.model import WEIGHT_ERRORS, EmotionModel, save_model
from training.model_files import WEIGHTS

MAX_CHECKPOINTS = 2
POSITION, OPTIMIZER = "position.json", "optimizer.pt"


@dataclass(frozen=True)
class Position:
    """``step`` optimizer steps are done; the next micro-batch is number ``micro_batch`` of ``epoch``."""

    step: int = 0
    epoch: int = 0
    micro_batch: int = 0


def save_checkpoint(run: Path, model: EmotionModel, state: dict[str, Any], position: Position) -> Path:
    """Write RUN/checkpoints/step-… and remove all but the last MAX_CHECKPOINTS; ``state`` holds state_dicts by name."""
    folder = run / "checkpoints" / f"step-{position.step:08d}"
    if folder.is_dir():  # from the same step of the same run, so the content is the same
        return folder
    temporary = folder.with_name("." + folder.name)
    shutil.rmtree(temporary, ignore_errors=True)
    save_model(model, temporary)
    _save_state(state, temporary / OPTIMIZER)
    (temporary / POSITION).write_text(json.dumps(asdict(position)) + "\n", encoding="utf-8")
    temporary.rename(folder)
    for old in list_checkpoints(run)[:-MAX_CHECKPOINTS]:
        shutil.rmtree(old)
    return folder


def _save_state(state: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as stream:
            torch.save(state, stream)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # PyTorch's own says "unexpected pos", whatever the disk said
            raise error.__context__ from None
        raise


def list_checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def load_checkpoint(folder: Path, model: EmotionModel) -> tuple[dict[str, Any], Position]:
    """Load the weights into ``model``; returns the state and position that `save_checkpoint` was given.

    Raises InputError for a checkpoint that cannot be read.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
        state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        position = Position(**json.loads((folder / POSITION).read_text(encoding="utf-8")))
    except (*WEIGHT_ERRORS, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(f"{folder}: not a complete checkpoint ({first_line(error)}); remove it and resume") from None
    return state, position
