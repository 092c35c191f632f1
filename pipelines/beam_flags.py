"""Beam's options, read from its source: importing Beam takes seconds, and a mistake is to be answered at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from lanser_ops.common.library_source import assigned, read_module
from lanser_ops.common.parser import Parser
from schemas.suggestions import did_you_mean

RUNNER = "--runner"
# The runner that Beam itself finds by its full name alone, and where the options of its own are.
DASK_RUNNER, DASK_SOURCE = "DaskRunner", ("runners", "dask", "dask_runner.py")
# Beam's options for the workers of a service or a cluster, which the runners that lanser starts itself ignore.
SERVICE_OPTIONS = ("WorkerOptions", "TestOptions", "DaskOptions")
# What they are called where lanser has an option for the same.
OURS = {"--num_workers": "--workers", "--max_num_workers": "--workers"}
# Actions of argparse with which an option takes no value.
SWITCHES = ("store_true", "store_false", "store_const")


@dataclass(frozen=True)
class BeamOption:
    """An option of Beam's command line: the class in Beam that has it, and whether a value follows it."""

    name: str
    owner: str
    takes_value: bool


def check_flags(parser: Parser, flags: Sequence[str]) -> None:
    """Raise InputError for arguments that are neither options of ``parser`` nor ones of Beam's.

    Also for a known option without its value, for a runner that there is not, and for an option with which Beam scales
    a service, where none is asked for: Beam would drop it silently.
    """
    options = beam_options()
    names = [flag.partition("=")[0] for flag in flags if flag.startswith("--")]
    unknown = [name for name in names if name not in options]
    if unknown or not names:
        # Not --dry_run of a service for --dry-run, which this command may lack.
        usable = [name for name in options if RUNNER in names or options[name].owner not in SERVICE_OPTIONS]
        parser.error(parser.unknown(unknown or flags, sorted(usable)))
    if RUNNER not in names:
        for name in names:
            if options[name].owner in SERVICE_OPTIONS:
                ours = OURS.get(name) or name.replace("_", "-")
                advice = f"; use {ours}" if ours in parser.option_names() else f"; give {RUNNER}, or leave it out"
                parser.error(f"{name} is an option of Beam's and has no effect without {RUNNER}{advice}")
    for name, value in _values(flags):
        if options[name].takes_value and value is None:
            parser.error(f"{name} is an option of Beam's and needs a value")
        if name == RUNNER and value is not None and "." not in value:
            _check_runner(parser, value)


def _check_runner(parser: Parser, name: str) -> None:
    known = runners()
    if name.lower() not in {form for runner in known for form in (runner.lower(), runner.lower()[: -len("Runner")])}:
        parser.error(f"{RUNNER} {name}: Beam has no such runner{did_you_mean(name, known)}")


def _values(flags: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Every option with its value, None where none follows."""
    for flag, following in zip(flags, [*flags[1:], "--"], strict=True):
        if flag.startswith("--"):
            name, equals, value = flag.partition("=")
            yield name, value if equals else (None if following.startswith("--") else following)


@cache
def beam_options() -> dict[str, BeamOption]:
    """Every option that Beam's own source adds to its command line, by name, such as ``--temp_location``."""
    return {
        option.name: option
        for node in (*_source().body, *read_module("apache_beam", *DASK_SOURCE).body)
        if isinstance(node, ast.ClassDef)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        for option in _options_of(node.name, call)
    }


@cache
def runners() -> tuple[str, ...]:
    """The names that ``--runner`` takes, such as ``DirectRunner``, beside the full name of a class."""
    (options,) = (node for node in _source().body if isinstance(node, ast.ClassDef) and node.name == "StandardOptions")
    paths = ast.literal_eval(assigned(options.body, "ALL_KNOWN_RUNNERS"))
    return (*(path.rsplit(".", 1)[-1] for path in paths), DASK_RUNNER)


def _options_of(owner: str, call: ast.Call) -> Iterator[BeamOption]:
    """The options that ``call`` adds to a parser: none if it is another call."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr.startswith("add_")):
        return
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    action = keywords.get("action")
    is_switch = isinstance(action, ast.Constant) and action.value in SWITCHES
    is_optional = "nargs" in keywords
    for argument in call.args:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value.startswith("--"):
            yield BeamOption(argument.value, owner, takes_value=not is_switch and not is_optional)


@cache
def _source() -> ast.Module:
    return read_module("apache_beam", "options", "pipeline_options.py")
