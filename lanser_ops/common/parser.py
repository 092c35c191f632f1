"""The argument parser of every command: one-line errors with suggestions, defaults in the help, a file of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from lanser_ops.common.config_file import CONFIG, config_arguments
from lanser_ops.common.errors import InputError
from schemas.suggestions import closest, did_you_mean

# How argparse begins to say that a required option is not given.
MISSING = "the following arguments are required"


class MissingOptionError(InputError):
    """A required option is not given."""


class HelpFormatter(argparse.HelpFormatter):
    """Shows the default of every option that has one and whose help does not state it; wraps each line by itself."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(super(HelpFormatter, self)._fill_text(line, width, indent) for line in text.splitlines())

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if "default" in text or action.default in (None, False, argparse.SUPPRESS) or not action.option_strings:
            return text
        default = action.default
        shown = " ".join(map(str, default)) or "none" if isinstance(default, (list, tuple)) else "%(default)s"
        return f"{text}; default: {shown}".removeprefix("; ")


class Parser(argparse.ArgumentParser):
    """An argparse parser for ``lanser COMMAND``.

    Errors are an InputError of one line, with a suggestion for an option, or a choice, that does not exist. Options are
    not abbreviated. ``--config FILE`` gives values of options, which those on the command line replace.

    Args:
        command: the name after ``lanser``.
        description: what the command does, for its help.
        example: a command line that works, for the end of the help.
        notes: further lines for the end of the help.
        configurable: whether the command takes ``--config``.
    """

    def __init__(
        self, command: str, description: str, example: str = "", notes: str = "", *, configurable: bool = True
    ):
        epilog = "\n".join(filter(None, [f"Example: {example}" if example else "", notes]))
        super().__init__(
            prog=f"lanser {command}",
            description=description,
            epilog=epilog or None,
            allow_abbrev=False,
            formatter_class=HelpFormatter,
        )
        self.command = command
        if configurable:
            self.add_argument(
                CONFIG, metavar="FILE", help=f"a YAML file of options: lanser config {command} writes one"
            )

    def format_help(self) -> str:
        # A usage with every option would fill a screen before the help begins: it has those that must be given.
        shown = [action for action in self._actions if action.required or not action.option_strings]
        formatter = self._get_formatter()
        formatter.add_usage(None, shown, [], prefix="")
        self.usage = f"{' '.join(formatter.format_help().split())} [options]"
        return super().format_help()

    def options(self) -> Iterator[argparse.Action]:
        """The options that a configuration file may set: all but ``--help`` and ``--config``."""
        for action in self._actions:
            if action.option_strings and action.dest not in ("help", CONFIG.strip("-")):
                yield action

    def option_names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        arguments = config_arguments(self.options(), list(args or []))
        try:
            return super().parse_known_args(arguments, namespace)
        except MissingOptionError:
            # A required option that is mistyped is missing too: name the mistake rather than what it led to.
            names = [text.partition("=")[0] for text in arguments if text.startswith("--")]
            mistyped = [name for name in names if name not in self.option_names() and closest(name, self._missing())]
            if mistyped:
                self.error(self.unknown(mistyped))
            raise

    def _missing(self) -> list[str]:
        return [action.option_strings[-1] for action in self.options() if action.required]

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(self.unknown(rest))
        return parsed

    def unknown(self, rest: Sequence[str], further: Sequence[str] = ()) -> str:
        """What to say of arguments that no option takes; ``further`` are names that exist elsewhere."""
        options = [text.partition("=")[0] for text in rest if text.startswith("-")]
        if not options:
            return f"unexpected argument {rest[0]!r}"
        return f"unknown option {options[0]}{did_you_mean(options[0], [*self.option_names(), *further])}"

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if not arg_string:  # of an unset variable of the shell; as a path it would be the working directory
            raise argparse.ArgumentError(action, "the value is empty; give one, or leave it out")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            message = f"{value!r} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        error = MissingOptionError if message.startswith(MISSING) else InputError
        raise error(f"{message} (see lanser {self.command} --help)")


def add_flag(container: argparse._ActionsContainer, name: str, what: str) -> None:
    """A switch, also with a value: a Flex Template gives every option one (``--exact=true``)."""
    values = {"true": True, "false": False}
    container.add_argument(
        name, nargs="?", type=_one_of(values), const=True, default=False, metavar="true|false", help=what
    )


def _one_of(values: dict[str, bool]) -> Callable[[str], bool]:
    def value(text: str) -> bool:
        if text not in values:
            raise argparse.ArgumentTypeError(f"{text!r} is neither {' nor '.join(values)}")
        return values[text]

    return value
