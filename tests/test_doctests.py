"""The examples in docstrings. Only modules that have some are imported: pytest's own collection imports them all."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for package in ("schemas", "lanser_ops", "pipelines", "training", "lanser")
    for path in sorted((REPOSITORY / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    failures, examples = doctest.testmod(importlib.import_module(name))
    assert examples > 0
    assert failures == 0


def test_modules_with_examples_are_collected():
    assert {"schemas.records", "lanser_ops.storage"} <= set(MODULES)
