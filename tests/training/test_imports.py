import ast
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "training").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_training_imports_neither_beam_nor_the_pipelines(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert not imported & {"apache_beam", "lanser_ops", "pipelines"}
