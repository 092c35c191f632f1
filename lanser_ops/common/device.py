"""Which device torch computes on."""

from __future__ import annotations

from lanser_ops.common.errors import InputError

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` if torch sees a GPU on this machine, else ``cpu``.

    Raises InputError if ``cuda`` is asked for and there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU; use --device cpu")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
