"""Which device torch computes on, and which GPU each worker of a machine gets."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence

from lanser_ops.common.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
# Libraries of the drivers: NVIDIA's on Linux and Windows, and AMD's, whose devices torch calls cuda too.
DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")
# CUDA's variable with the GPUs that a process sees, and ours in a worker process that was dealt one of several.
VISIBLE_GPUS, DEALT_GPU = "CUDA_VISIBLE_DEVICES", "LANSER_DEALT_GPU"


def resolve_device(name: str) -> str:
    """``cpu`` or ``cuda`` for one of DEVICES; ``auto`` is ``cuda`` if torch sees a GPU on this machine.

    torch takes over a second to import, so on a machine without a GPU driver it is not asked.

    Raises InputError for ``cuda`` on a machine without a GPU, and for any other name.
    """
    if name not in DEVICES:
        raise InputError(f"device {name!r}: use one of {', '.join(DEVICES)}")
    if name == "cpu":
        return name
    has_gpu = _has_driver() and _torch_sees_gpu()
    if name == "cuda" and not has_gpu:
        raise InputError("--device cuda: torch sees no GPU; use --device cpu")
    return "cuda" if has_gpu else "cpu"


def visible_gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs that processes started from here see, as `VISIBLE_GPUS` names them; empty if there are none.

    Asks the driver, since torch and CTranslate2 take seconds to import.
    """
    names = os.environ.get(VISIBLE_GPUS)
    if names is not None:
        listed = [name.strip() for name in names.split(",")]
        # CUDA ignores what follows an invalid name; -1 is how people hide all GPUs.
        return tuple(listed[: next((i for i, name in enumerate(listed) if name in ("", "-1")), len(listed))])
    try:
        driver = ctypes.CDLL(DRIVERS[0])
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(str(number) for number in range(count.value))


def deal(worker: str, gpus: Sequence[str]) -> str:
    """The one of ``gpus`` for the worker whose name ends with a number; workers of consecutive numbers take turns.

    >>> [deal(f"worker_{number}", ["0", "1", "3"]) for number in (7, 8, 9, 10)]
    ['1', '3', '0', '1']
    """
    number = re.search(r"[0-9]+$", worker)
    if number is None:
        raise ValueError(f"{worker!r} has no number by which it could be dealt a GPU")
    return gpus[int(number[0]) % len(gpus)]


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
