"""How every command ends: its errors become one line and an exit status; and the types of its options' values."""

from __future__ import annotations

import argparse
import errno
import io
import math
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from lanser_ops.common import events
from lanser_ops.common.errors import Inconsistent, InputError, Interrupted, legible
from lanser_ops.common.signals import Stopped, stops

Number = TypeVar("Number", int, float)
# What to do about errors of the disk, by the system's words: of an error in a worker, Beam passes on the text alone.
DISK_FAULTS = {
    os.strerror(errno.ENOSPC): "; make room on that disk, and run the command again",
    os.strerror(errno.EDQUOT): "; raise the quota or make room, and run the command again",
    os.strerror(errno.EROFS): "; mount that disk for writing, and run the command again",
}

# How an error of a worker process begins in Beam's message.
WORKERS_INPUT_ERROR = f"{InputError.__module__}.{InputError.__name__}: "


def guarded(
    run: Callable[[Sequence[str]], None],
    argv: Sequence[str] | None,
    name: str,
    *,
    interrupted: str = "interrupted; the same command continues where it stopped",
    extra: str | None = None,
) -> int:
    """Run a command; its exit status: 0 done, 2 bad input, 130 after Ctrl-C, 143 after SIGTERM, 1 anything else.

    Errors become one line on stderr; with ``--verbose`` in ``argv`` (default: those of the process), errors that are
    no fault of the input are raised as they are. ``interrupted`` is the line after Ctrl-C or SIGTERM. ``extra`` is the
    optional dependency group that the command needs: a missing module then counts as bad input.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    events.set_format(events.asked_format(argv))
    if isinstance(sys.stdout, io.TextIOWrapper):  # as Python's stderr: what a terminal cannot show ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stops():
            run(argv)
    except InputError as error:
        return _fail(name, legible(_without_step(str(error))), 2)
    except Interrupted as error:
        return _fail(name, str(error), 128 + signal.SIGTERM)
    except Inconsistent as error:
        return _fail(name, "\n".join(map(legible, str(error).splitlines())), 1)
    except KeyboardInterrupt as stop:
        return _fail(name, interrupted, 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if extra and isinstance(error, ModuleNotFoundError):
            return _fail(name, f"{str(error.name).split('.')[0]} is not installed; pip install 'lanser[{extra}]'", 2)
        message = legible(root_cause(error))
        if message.startswith(WORKERS_INPUT_ERROR):
            return _fail(name, message.removeprefix(WORKERS_INPUT_ERROR), 2)
        if "--verbose" in argv:
            raise
        remedies = [remedy for fault, remedy in DISK_FAULTS.items() if fault in message]
        return _fail(name, f"{message}{remedies[0] if remedies else ' (--verbose shows the whole trace)'}", 1)
    return 0


def print_next(*command: object, program: str = "lanser") -> None:
    """Print what to run next, as a shell takes it."""
    print(legible(f"next: {shlex.join([program, *map(str, command)])}"))


def warn(message: str) -> None:
    """Say on stderr, in one line, what the user may not have meant; the command goes on."""
    message = legible(message)
    events.write("warning", message, text=f"warning: {message}")


def _fail(name: str, message: str, status: int) -> int:
    events.write("error", message, text=f"lanser {name}: {message}", command=name, status=status)
    return status


def root_cause(error: BaseException) -> str:
    """The line of ``error`` that says what happened: Beam puts the whole trace of a worker's error into its message.

    A message that names no error is prefixed with the type of ``error``, unless that is RuntimeError, which says
    nothing.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _names_an_error(line)]
    if not lines:
        return type(error).__name__
    if not named:
        return _without_step(lines[0] if type(error) is RuntimeError else f"{type(error).__name__}: {lines[0]}")
    step, _, inner = named[-1].partition("RuntimeError: ")  # Beam adds the step's name to an error in this form
    return _without_step(inner if not step and _names_an_error(inner) else named[-1])


def _names_an_error(line: str) -> bool:
    return line.split(":")[0].rsplit(".", 1)[-1].endswith(("Error", "Exception"))


def _without_step(message: str) -> str:
    """``message`` without the name of the Beam step that it came through."""
    return message.split(" [while running")[0]


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """An option's type: a finite number of that kind above 0."""

    def number(text: str) -> Number:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    number.__name__ = kind.__name__  # argparse names the type in its message
    return number


def between(low: float, high: float) -> Callable[[str], float]:
    """An option's type: a number from ``low`` to ``high``, both included."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return number


def whole(low: int, high: int) -> Callable[[str], int]:
    """An option's type: a whole number from ``low`` to ``high``, both included."""

    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {low} to {high}")
        return int(text)

    return number


# An option's type: a seed that every generator takes. NumPy's end at 2**32, and seeds of epochs and processes are sums.
seed_number = whole(0, 2**31 - 1)


def output_folder(text: str) -> Path:
    """An option's type: a folder to write to, which need not exist. What would fail only once the work is done is
    refused at the start."""
    folder = Path(text)
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{place} is not a folder; choose another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{place} cannot be written to; choose another folder")
    return folder


def output_file(text: str) -> Path:
    """An option's type: a file to write, in a folder that exists; it is checked at the start, as an `output_folder`."""
    file = Path(text)
    if file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{file} cannot be written; choose a file in a folder that exists")
    return file


def check_distinct(option: str, values: Sequence[object]) -> None:
    """Raise InputError where ``values`` of ``option`` repeat: a run that is counted twice narrows the spread."""
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise InputError(f"{option} {' '.join(map(str, values))}: give {repeated[0]} once")


def at_least(low: float) -> Callable[[str], float]:
    """An option's type: a finite number that is not below ``low``."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number of at least {low:g}")
        return value

    return number


def share(text: str) -> float:
    """An option's type: a number above 0, at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value
