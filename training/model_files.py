"""Where a trained model lies. Imports nothing heavy: commands look for a model before they import torch."""

from __future__ import annotations

from pathlib import Path

from lanser_ops.common.errors import InputError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def model_folder(folder: str | Path) -> Path:
    """``folder``, or ``folder/model``, whichever has a model: a run, a checkpoint or an export.

    Raises InputError if neither has one.
    """
    for place in (Path(folder) / "model", Path(folder)):
        if (place / CONFIG).is_file():
            return place
    reason = "holds no model" if Path(folder).is_dir() else "no such folder"
    raise InputError(f"{folder}: {reason}; give the output of lanser pretrain or finetune")
