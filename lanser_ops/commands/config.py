"""``lanser config``: a YAML file with every option of a command, for its ``--config``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lanser_ops.command_table import COMMANDS, command_module
from lanser_ops.common.command import guarded
from lanser_ops.common.config_file import config_text
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser


def build_parser() -> Parser:
    parser = Parser(
        "config",
        "Write a YAML file with every option of a command, each commented out with its help and default.",
        example="lanser config build --output build.yaml",
        configurable=False,
    )
    parser.add_argument("of", metavar="COMMAND", choices=list(COMMANDS), help="the command that reads the file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    parser = command_module(args.of).build_parser()
    text = config_text(args.of, parser.options())
    if args.output is None:
        print(text, end="")
        return
    try:
        with args.output.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(f"--output {args.output}: exists already; give another name, or remove it") from None
    except OSError as error:
        raise InputError(f"--output {args.output}: cannot be written ({error.strerror})") from None
    print(f"wrote {args.output}; uncomment what you change, then: lanser {args.of} --config {args.output}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "config")
