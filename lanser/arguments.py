"""Keyword arguments as the command line has them, so that options are named, checked and defaulted in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lanser_ops.common.parser import Parser


# A value of an option: None and False leave it at its default, True sets a switch, and several values repeat it.
Value = str | int | float | bool | PathLike[str] | None
Values = Value | Sequence[Value]


def arguments(parser: Parser, options: Mapping[str, Values]) -> list[str]:
    """``options`` as a command line: underscores are hyphens in the options of ``parser``, others stay as they are."""
    actions = {action.dest: action for action in parser.options()}
    argv: list[str] = []
    for name, values in options.items():
        several = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        texts = [_text(value) for value in several if value is not None and value is not False]
        action = actions.get(name)
        flag = action.option_strings[-1] if action else f"--{name}"
        if action and action.nargs == "+" and texts:
            argv += [flag, *texts]
        else:
            is_bare = values is True and (action is None or action.nargs == 0)
            argv += [flag] if is_bare else [f"{flag}={text}" for text in texts]
    return argv


def _text(value: Value) -> str:
    return "true" if value is True else fspath(value) if isinstance(value, PathLike) else str(value)
