"""The command line before any work: what it imports, and what it says of a command or package that is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lanser_ops.command_table import COMMANDS

# What takes a second or more to import. pyarrow, a fifth of a second, is allowed.
HEAVY = {"apache_beam", "torch", "transformers", "ctranslate2", "faster_whisper", "pandas", "accelerate", "scipy"}


def imported_by(*argv: str) -> set[str]:
    """The top-level modules that ``lanser ARGV`` has imported when it ends."""
    program = (
        "import contextlib, io, sys\n"
        "from lanser_ops import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    cli.main(sys.argv[1:])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str):
    assert imported_by(command, "--help") & HEAVY == set()


def test_a_mistake_is_refused_before_anything_heavy_is_imported():
    assert imported_by("build", "--input", "x", "--output", "y", "--taxonomy", "ekmann") & HEAVY == set()


def test_reading_local_files_does_not_import_beam(built):
    assert imported_by("inspect", str(built)) & HEAVY == set()
    assert imported_by("taxonomies", "ekman") & HEAVY == set()
