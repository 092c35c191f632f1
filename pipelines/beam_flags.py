"""The names of Beam's options, read without importing Beam, which takes two seconds: mistakes are refused at once."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from lanser_ops.common.parser import Parser

# Beam's names for what lanser's own options say, on the runners that lanser starts itself.
OURS_ON_DIRECT = {"--num_workers": "--workers", "--max_num_workers": "--workers"}
RUNNER = "--runner"


def check_flags(parser: Parser, flags: Sequence[str]) -> None:
    """Raise InputError for an argument that is neither an option of ``parser`` nor one of Beam's.

    Also for an option with which Beam scales a service, where none is asked for: the direct runner ignores it.
    """
    beam_names = beam_option_names()
    names = [flag.partition("=")[0] for flag in flags if flag.startswith("--")]
    unknown = [name for name in names if name not in beam_names]
    if unknown or not names:
        parser.error(parser.unknown(unknown or flags, sorted(beam_names)))
    if RUNNER not in names:
        for name in names:
            if name in OURS_ON_DIRECT:
                parser.error(f"{name} has no effect without {RUNNER}; use {OURS_ON_DIRECT[name]}")


def beam_option_names() -> set[str]:
    """Every option that Beam's own sources add to its command line, such as ``--temp_location``."""
    spec = importlib.util.find_spec("apache_beam")
    assert spec is not None and spec.submodule_search_locations, "apache-beam is a dependency of lanser"
    source = Path(spec.submodule_search_locations[0], "options", "pipeline_options.py").read_text(encoding="utf-8")
    return set(re.findall(r"""['"](--[a-z][a-z0-9_-]*)['"]""", source))
