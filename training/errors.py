"""How a training command ends: bad input is one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


class InputError(ValueError):
    """Bad arguments or bad input, said in one line: what was wrong, where, and what to do."""


class Interrupted(RuntimeError):
    """The run was asked to stop and has written a checkpoint: exit status 1, nothing is broken."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def count(text: str) -> int:
    """argparse type: a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return number


def positive(text: str) -> float:
    """argparse type: a finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def guarded(run: Callable[[Sequence[str]], None], argv: Sequence[str] | None, name: str) -> int:
    """Run a command; its errors become one line on stderr and an exit status: 0 done, 2 bad input, 1 else."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        run(argv)
    except InputError as error:
        print(f"lanser {name}: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"lanser {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lanser {name}: stopped", file=sys.stderr)
        return 1
    except Exception as error:
        if "--verbose" in argv:
            raise
        lines = str(error).strip().splitlines() or [""]
        print(f"lanser {name}: {type(error).__name__}: {lines[0]} (--verbose shows the whole trace)", file=sys.stderr)
        return 1
    return 0
