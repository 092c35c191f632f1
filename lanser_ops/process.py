"""Set-up of a worker process for a long job."""

from __future__ import annotations

import contextlib
import ctypes
import gc

M_ARENA_MAX = -8  # malloc.h


def tune_process() -> None:
    """Keep garbage collection and memory allocation cheap in a process that runs models for hours.

    What is imported stays, so the garbage collector need not scan it again: with torch loaded, a process took a second
    longer to exit. And glibc is kept from giving every thread a heap of its own: decoding runs in a thread beside the
    models, each unit starts a new one, and with a heap each, freed audio stays with the process and a long job grows.
    Measured by benchmarks/memory.py.
    """
    gc.freeze()
    with contextlib.suppress(AttributeError):  # no glibc, no mallopt
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Return freed memory to the system, so that what one pool of audio left in pieces is not held for the next."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
