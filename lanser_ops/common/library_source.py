"""Facts from the source of a library that takes seconds to import: the answer to a mistake is to be quick."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path


def read_module(package: str, *path: str) -> ast.Module:
    """The syntax tree of a file of an installed ``package``, a dependency of lanser, which is not imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is a dependency of lanser"
    return ast.parse(Path(spec.submodule_search_locations[0], *path).read_text(encoding="utf-8"))


def assigned(body: list[ast.stmt], name: str) -> ast.expr:
    """The expression that ``body``, of a module or class, assigns to ``name``."""
    return next(
        statement.value
        for statement in body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id == name
    )
