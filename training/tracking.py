"""Experiment trackers, through accelerate: https://huggingface.co/docs/accelerate/usage_guides/tracking."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanser_ops.common.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT, FOLDER, TENSORBOARD = "lanser", "tensorboard", "tensorboard"
TRACKERS = (TENSORBOARD, "wandb", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab", "trackio")


def add_tracker_option(container: argparse._ActionsContainer) -> None:
    container.add_argument(
        "--tracker", nargs="*", choices=TRACKERS, default=[TENSORBOARD], help="where figures are logged besides RUN"
    )


def tracker_options(names: Sequence[str], run: Path) -> dict[str, Any]:
    """The arguments of `accelerate.Accelerator` for the trackers ``names``.

    Raises InputError for a tracker whose package is not installed.
    """
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import ProjectConfiguration

    available = [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in available:
            raise InputError(f"--tracker {name}: its package is not installed; pip install {name}")
    return {
        "log_with": list(names) or None,
        "project_config": ProjectConfiguration(project_dir=str(run), logging_dir=str(run / FOLDER)),
    }


def start_trackers(accelerator: Accelerator, options: Mapping[str, Any], done: int = 0) -> None:
    """Start the trackers of ``accelerator``, and tell them the ``options`` of the run, resumed after ``done`` steps."""
    config = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in options.items()
    }
    accelerator.init_trackers(PROJECT, config=config, init_kwargs={TENSORBOARD: {"purge_step": done + 1}})
