"""What a command says on stderr while it runs: lines of text, or with ``--log-format json`` an object per line.

An object has ``time`` (UTC, ISO 8601), ``level`` (info, warning, error) and ``message``, and what else is known:
``command``, ``stage``, ``unit``, ``reason``, … No transcript is ever among it.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import logging
import sys
from collections.abc import Sequence

OPTION = "--log-format"
TEXT, JSON = FORMATS = ("text", "json")


class _JsonHandler(logging.Handler):
    """Writes records of Python's logging as events; ``extra={"unit": …}`` of a call becomes a field."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: getattr(record, name) for name in ("stage", "unit", "reason") if hasattr(record, name)}
        write(record.levelname.lower(), record.getMessage(), logger=record.name, **fields)


# Installed on the root logger while events are JSON; that is also how this module knows.
_handler = _JsonHandler()


def add_log_format(container: argparse._ActionsContainer) -> None:
    container.add_argument(
        OPTION, choices=FORMATS, default=TEXT, help="lines on stderr for people, or one JSON object each; default: text"
    )


def asked_format(argv: Sequence[str]) -> str:
    """The format that ``argv`` asks for, before it is parsed: what is wrong with it is an event too.

    >>> asked_format(["--log-format", "json"]), asked_format(["--log-format=json"]), asked_format([])
    ('json', 'json', 'text')
    """
    given = [following for name, following in itertools.pairwise(argv) if name == OPTION]
    given += [argument.partition("=")[2] for argument in argv if argument.startswith(f"{OPTION}=")]
    return JSON if JSON in given else TEXT


def set_format(name: str) -> None:
    """Choose one of FORMATS for this process, Python's logging included."""
    root = logging.getLogger()
    root.removeHandler(_handler)
    if name == JSON:
        root.addHandler(_handler)


def is_json() -> bool:
    return _handler in logging.getLogger().handlers


def write(level: str, message: str, text: str | None = None, **fields: object) -> None:
    """Write an event. Where events are text, that is ``text``, by default the message; the fields are left out."""
    if is_json():
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "level": level, "message": message, **fields}, ensure_ascii=False)
    else:
        line = message if text is None else text
    print(line, file=sys.stderr, flush=True)
