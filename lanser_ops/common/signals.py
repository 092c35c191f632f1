"""SIGINT and SIGTERM, as an error that ends a command in one line."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The signal ``number`` ended what ran; a command that it ends has the exit status 128 + ``number``."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


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

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    # A signal that is ignored (as SIGINT is in a shell's background) stays so.
    handled = [number for number in STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    except BaseException:
        if received:
            raise Stopped(received[0]) from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
