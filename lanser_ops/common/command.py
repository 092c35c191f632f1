"""What every command shares: its argument parser, and what a user sees when something is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lanser_ops.common.errors import InputError


def guarded(run: Callable[[Sequence[str]], None], argv: Sequence[str] | None, name: str) -> int:
    """Run a command; its errors become one line on stderr and an exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        run(argv)
    except InputError as error:
        print(f"lanser {name}: {_without_place(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lanser {name}: stopped; the same command goes on where it was", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--verbose" in argv:
            raise
        print(f"lanser {name}: {root_cause(error)} (--verbose shows the whole trace)", file=sys.stderr)
        return 1
    return 0


def root_cause(error: BaseException) -> str:
    """The line that says what happened; Beam wraps a worker's error in its whole trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if _names_an_error(line)]
    line = (told or lines or [type(error).__name__])[-1]
    beam, _, inner = line.partition("RuntimeError: ")  # in which Beam wraps an error with the step's name
    return _without_place(inner if not beam and _names_an_error(inner) else line)


def _names_an_error(line: str) -> bool:
    return line.split(":")[0].rsplit(".", 1)[-1].endswith(("Error", "Exception"))


def _without_place(message: str) -> str:
    """``message`` without the name of the Beam step that it came through."""
    return message.split(" [while running")[0]


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see lanser {self.prog.split()[-1]} --help)")


def positive(kind: type) -> Callable[[str], float]:
    """An option's type: a number of that kind, finite and more than zero."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    number.__name__ = kind.__name__  # argparse names it in its message
    return number
