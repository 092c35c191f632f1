"""The errors that end a command with one line on stderr; their text is the line that the user sees."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator


class InputError(ValueError):
    """Bad arguments or bad input, exit status 2: the text says what was wrong, where, and what to do."""


class Interrupted(RuntimeError):
    """The command stopped on SIGTERM and saved its progress, exit status 143: the text says how to continue."""


class Inconsistent(RuntimeError):
    """What was checked is not as it should be, exit status 1: the text has a line for each difference."""


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Say in an error about room on the disk that it is ``path`` that has none; the system does not."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and error.filename is None:
            error.filename = path
        raise


def first_line(error: BaseException) -> str:
    """The first line of the message of ``error``, or its type if it has none: for an InputError of one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def legible(text: str) -> str:
    r"""``text`` without line ends and control characters, which would act on a terminal.

    >>> legible("a\x1b[2J\n").encode("ascii", "replace")
    b'a?[2J?'
    """
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
