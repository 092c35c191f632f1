"""Options from a YAML file: ``--config FILE`` of every command, and the file that ``lanser config`` writes.

A key is an option's name without the dashes; its value a scalar, or a list for an option that takes several values.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence

import yaml

from lanser_ops.common.errors import InputError
from schemas.strict_yaml import YamlError, at, read_root
from schemas.suggestions import did_you_mean

CONFIG = "--config"


def config_arguments(options: Iterable[argparse.Action], arguments: Sequence[str]) -> list[str]:
    """``arguments`` with those of the file that ``--config`` names; what both give, the command line decides.

    Raises InputError for a file that cannot be read, a key that is no option, or a value of the wrong form.
    """
    path = _config_path(arguments)
    if path is None:
        return list(arguments)
    by_key = {action.option_strings[-1].removeprefix("--"): action for action in options}
    given = {argument.partition("=")[0] for argument in arguments}
    from_file = [
        argument
        for key, values in _entries(path, by_key)
        if not given.intersection(by_key[key].option_strings)
        for argument in _as_arguments(by_key[key], values)
    ]
    # After the positional arguments, which an option of several values would otherwise take.
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], *from_file, *arguments[end:]]


def _config_path(arguments: Sequence[str]) -> str | None:
    """The value of the last ``--config``; None if there is none, or no value follows (which argparse reports)."""
    path = None
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == CONFIG:
            path = value if equals else (arguments[position + 1] if position + 1 < len(arguments) else None)
    return path


def _entries(path: str, by_key: dict[str, argparse.Action]) -> Iterator[tuple[str, list[str]]]:
    try:
        with open(path, "rb") as stream:
            root = read_root(stream.read(), path)
    except OSError as error:
        raise InputError(f"{CONFIG} {path}: cannot be read ({error.strerror})") from None
    except YamlError as error:
        raise InputError(f"{CONFIG} {error}") from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{CONFIG} {at(root, 'must be a mapping of option names to values')}")
    seen: set[str] = set()
    for key_node, value in root.value:
        key = str(key_node.value).replace("_", "-") if isinstance(key_node, yaml.ScalarNode) else ""
        if key not in by_key:
            message = f"there is no option {key or 'of that kind'}{did_you_mean(key, by_key)}"
            raise InputError(f"{CONFIG} {at(key_node, message)}")
        if key in seen:
            raise InputError(f"{CONFIG} {at(key_node, f'{key} is there twice; remove one')}")
        seen.add(key)
        nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not all(isinstance(node, yaml.ScalarNode) for node in nodes):
            raise InputError(f"{CONFIG} {at(value, f'{key} must be a value or a list of values')}")
        yield key, [node.value for node in nodes if not node.tag.endswith(":null")]


def _as_arguments(action: argparse.Action, values: list[str]) -> list[str]:
    name = action.option_strings[-1]
    if not values:
        return []
    if action.nargs == 0:  # a switch without a value
        return [name] if values[0].lower() in ("true", "yes", "on") else []
    if action.nargs == "+":
        return [name, *values]
    return [f"{name}={value}" for value in values]


def config_text(command: str, options: Iterable[argparse.Action]) -> str:
    """A file for ``--config`` with every option of a command, commented out, with its help and default."""
    lines = [f"# Options of lanser {command}. Options on the command line replace these."]
    for action in options:
        helping = (action.help or "") % {**vars(action), "prog": command}
        value = action.default if action.default not in (None, argparse.SUPPRESS) else ""
        written = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip() if value != "" else ""
        lines += ["", f"# {' '.join(helping.split())}", f"# {action.option_strings[-1].removeprefix('--')}: {written}"]
    return "\n".join(line.rstrip() for line in lines) + "\n"
