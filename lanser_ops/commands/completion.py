"""``lanser completion``: a script with which a shell completes commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lanser_ops.command_table import COMMANDS, command_module
from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser

SHELLS = ("bash", "zsh", "tcsh")


def build_parser() -> Parser:
    parser = Parser(
        "completion",
        "Print a script with which a shell completes commands and options.",
        example='eval "$(lanser completion bash)"',
        configurable=False,
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    import shtab

    print(shtab.complete(whole_parser(), shell=args.shell))


def whole_parser() -> argparse.ArgumentParser:
    """One parser with every command as a subcommand, for completion only."""
    parser = argparse.ArgumentParser(prog="lanser")
    commands = parser.add_subparsers()
    for name, (_, what) in COMMANDS.items():
        command_parser = command_module(name).build_parser()
        commands.add_parser(name, help=what, parents=[command_parser], add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "completion")
