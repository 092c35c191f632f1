"""Every benchmark starts the way its docstring says."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = sorted(path for path in (REPOSITORY / "benchmarks").glob("*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_command_of_the_docstring_starts(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """In this process, which has loaded the libraries, with the search path that Python would have."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    command = re.search(r"^    python (?:-m benchmarks\.(\w+)|benchmarks/(\w+)\.py)", docstring, re.M)
    assert command is not None and path.stem in command.groups()
    as_module = command[1] is not None
    others = [folder for folder in sys.path if Path(folder).resolve() not in (REPOSITORY, path.parent)]
    monkeypatch.setattr(sys, "path", [str(REPOSITORY if as_module else path.parent), *others])
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        if as_module:
            runpy.run_module(f"benchmarks.{path.stem}", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(str(path), run_name="__main__")
    assert (ended.value.code, capsys.readouterr().out[:6]) == (0, "usage:")
