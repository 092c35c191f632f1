"""Which device a command runs on."""

from __future__ import annotations

import argparse

import torch

from training.errors import InputError


def add_device_option(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU where torch sees one. Raises InputError where one is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
