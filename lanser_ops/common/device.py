"""Which device torch computes on."""

from __future__ import annotations

from lanser_ops.common.errors import InputError

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> str:
    """``cpu`` or ``cuda`` for one of DEVICES; ``auto`` is ``cuda`` if torch sees a GPU on this machine.

    Raises InputError for ``cuda`` on a machine without a GPU.
    """
    import torch  # not at import time: the parsers of commands import this module for DEVICES

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU; use --device cpu")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
