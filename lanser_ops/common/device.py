"""Which device torch computes on."""

from __future__ import annotations

import ctypes

from lanser_ops.common.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
# Libraries of the drivers: NVIDIA's on Linux and Windows, and AMD's, whose devices torch calls cuda too.
DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")


def resolve_device(name: str) -> str:
    """``cpu`` or ``cuda`` for one of DEVICES; ``auto`` is ``cuda`` if torch sees a GPU on this machine.

    torch takes over a second to import, so on a machine without a GPU driver it is not asked.

    Raises InputError for ``cuda`` on a machine without a GPU.
    """
    if name == "cpu":
        return name
    has_gpu = _has_driver() and _torch_sees_gpu()
    if name == "cuda" and not has_gpu:
        raise InputError("--device cuda: torch sees no GPU; use --device cpu")
    return "cuda" if has_gpu else "cpu"


def _has_driver() -> bool:
    for library in DRIVERS:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def _torch_sees_gpu() -> bool:
    import torch  # not at import time: the parsers of commands import this module for DEVICES

    return torch.cuda.is_available()
