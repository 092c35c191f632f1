"""SIGINT and SIGTERM, as an error that ends a command in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TypeVar

STOPPING = (signal.SIGINT, signal.SIGTERM)
# A signal that arrives where an error would be lost is sent again after this time.
REPEAT_S = 0.05

Function = TypeVar("Function", bound=Callable)
_drops_errors: set[CodeType] = set()


class Stopped(KeyboardInterrupt):
    """The signal ``number`` ended what ran; a command that it ends has the exit status 128 + ``number``."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def errors_are_dropped(function: Function) -> Function:
    """Mark ``function`` as called from C code that prints its errors and goes on: `stops` raises nothing there."""
    _drops_errors.add(function.__code__)
    return function


@contextlib.contextmanager
def stops() -> Iterator[None]:
    """Raise `Stopped` for a signal of STOPPING that arrives during the block, whatever error comes out of the block.

    A library in the block may turn it into an error of its own: Beam's in-process worker makes a RuntimeError of it.
    Python runs signal handlers in the main thread alone, so in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    repeats: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if not _is_lost(frame):
            raise Stopped(number)
        repeats.append(threading.Timer(REPEAT_S, os.kill, (os.getpid(), number)))
        repeats[-1].start()

    # A signal that is ignored (as SIGINT is in a shell's background) stays so.
    handled = [number for number in STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    except BaseException:
        if received:
            raise Stopped(received[0]) from None
        raise
    else:
        if received:
            raise Stopped(received[0])
    finally:
        for repeat in repeats:
            repeat.cancel()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_lost(frame: FrameType | None) -> bool:
    """Whether an error in ``frame`` is printed and ignored: in a ``__del__``, and in `errors_are_dropped`."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code in _drops_errors:
            return True
        frame = frame.f_back
    return False
