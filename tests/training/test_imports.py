"""What training imports: of ours, schemas and what lanser_ops shares with it; never Beam or a recogniser."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "training").glob("*.py"))
SHARED = ("schemas", "training", "lanser_ops.common", "lanser_ops.audio.decode")
OURS = ("schemas", "training", "lanser_ops", "pipelines")


def imported_modules(source: str) -> set[str]:
    """Every module that ``source`` imports, at any level; of ``from a import b`` both ``a.b`` and ``a``'s own name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden(source: str) -> set[str]:
    """What ``source`` imports of ours beyond SHARED, and Beam."""
    names = imported_modules(source)
    ours = {name for name in names if name.split(".")[0] in OURS}
    return {name for name in ours if not (name + ".").startswith(tuple(f"{shared}." for shared in SHARED))} | {
        name for name in names if name.split(".")[0] == "apache_beam"
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_what_is_shared(path):
    assert forbidden(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import apache_beam as beam", {"apache_beam"}),
        ("def run():\n    from pipelines import job", {"pipelines.job"}),
        ("from lanser_ops.audio import recordings, decode", {"lanser_ops.audio.recordings"}),
        ("from lanser_ops.commonly import x\nfrom lanser_ops.common import errors", {"lanser_ops.commonly.x"}),
        ("from lanser_ops.audio.decode import read_all\nimport torch", set()),
    ],
)
def test_the_rule_can_fail(source, names):
    assert forbidden(source) == names


def test_importing_all_of_training_loads_neither_beam_nor_a_recogniser():
    names = [f"training.{path.stem}" for path in MODULES if path.stem != "__init__"]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(sorted({'apache_beam', 'faster_whisper', 'ctranslate2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("command", ["pretrain", "finetune", "probe", "predict"])
def test_help_loads_neither_torch_nor_transformers(command):
    code = (
        "import sys\n"
        "from lanser_ops.cli import main\n"
        "try:\n"
        f"    main([{command!r}, '--help'])\n"
        "except SystemExit:\n"
        "    print(sorted({'torch', 'transformers', 'accelerate', 'av', 'rich'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.startswith("usage: lanser"), done.stderr) == (True, "[]\n")


@pytest.mark.parametrize(
    ("command", "module"),
    [("pretrain", "psutil"), ("finetune", "accelerate"), ("probe", "parselmouth")],
)
def test_a_missing_module_of_the_train_extra_is_one_line(command, module, tmp_path):
    arguments = {
        "pretrain": ["--shards", "shards", "--output", "none"],
        "finetune": ["--backbone", "resnet18", "--data", "data.csv", "--output", "none"],
        "probe": ["--backbone", "whisper", "--data", "data.csv"],
    }
    (tmp_path / "data.csv").write_text(
        "path,label,speaker\n" + "".join(f"{row}.wav,{label},{row}\n" for row in range(5) for label in ("joy", "anger"))
    )
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-00000-of-00001.tar").touch()  # whose content is read later
    # None in sys.modules makes an import fail as if the package were not installed.
    code = f"import sys; sys.modules[{module!r}] = None; from lanser_ops.cli import main; sys.exit(main(sys.argv[1:]))"
    # psutil is needed only to count the processes that accelerate was asked for.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "localhost"}
    done = subprocess.run(
        [sys.executable, "-c", code, command, *arguments[command]],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    line = f"lanser {command}: {module} is not installed; pip install 'lanser[train]'\n"
    assert (done.returncode, done.stderr) == (2, line)
