"""The command line: what a user sees of all commands, and of one that does not exist."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from importlib import metadata

from lanser_ops.command_table import COMMANDS, GROUPS, command_module
from schemas.suggestions import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lanser COMMAND …``; returns the exit status: 0 done, 2 bad input, 1 anything else."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] == "help":
        argv = [*argv[1:2], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"lanser {metadata.version('lanser')}")
        return 0
    if argv[0] not in COMMANDS:
        hint = did_you_mean(argv[0], COMMANDS) or f"; the commands are {', '.join(COMMANDS)}"
        print(f"lanser: there is no command {argv[0]!r}{hint}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.ERROR, format="%(message)s")  # as in pipelines/__init__.py
    status = command_module(argv[0]).main(argv[1:])
    gc.freeze()  # the last collection need not scan what was imported: with torch loaded, it took a second
    return status


def overview() -> str:
    """The commands by purpose."""
    lines = ["usage: lanser COMMAND …   (lanser COMMAND --help says more)"]
    for purpose, commands in GROUPS.items():
        lines += ["", f"{purpose}:", *(f"  {name:<12} {what}" for name, (_, what) in commands.items())]
    return "\n".join(lines)
