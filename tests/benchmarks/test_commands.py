"""Every benchmark starts the way its docstring says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_command_of_the_docstring_starts(path: Path):
    given = re.search(
        r"^    python (-m benchmarks\.\w+|benchmarks/\w+\.py)", ast.get_docstring(ast.parse(path.read_text())), re.M
    )
    command = [sys.executable, *given[1].split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert (done.returncode, done.stdout[:6]) == (0, "usage:"), done.stderr
    assert path.stem in given[1]
