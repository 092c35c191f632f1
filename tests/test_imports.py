"""Which module may import which, checked on the source.

An import inside a function counts like any other. One under ``if TYPE_CHECKING:`` never runs, so it neither makes a
circle nor loads anything, but it still is an arrow from one package to another.
"""

from __future__ import annotations

import ast
import graphlib
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("schemas", "lanser_ops", "pipelines", "training", "lanser")
# What training takes from lanser_ops, and so what must stay free of Beam and of recognisers.
SHARED_WITH_TRAINING = ("lanser_ops.common", "lanser_ops.audio.decode")
BEAM_AND_RECOGNISERS = ("apache_beam", "faster_whisper", "ctranslate2", "lanser_ops.asr")
# What any backend may use. Every other module of its folder that a backend reaches is a part of that backend.
LABELLER_TOOLS = ("base", "batches", "fast_encoder", "model_files", "sequence_classifier")
FOR_EVERY_BACKEND = {f"lanser_ops.asr.{name}" for name in ("base", "batches", "quality")}
FOR_EVERY_BACKEND |= {f"lanser_ops.labelling.{name}" for name in LABELLER_TOOLS}
# The command line has a table of its commands' modules, the only ones that are imported by name.
LOADS_BY_NAME = "lanser_ops.command_table"
GUARDED, PRIVATE_INTERFACES = ("apache_beam", "botocore"), ("lanser_ops.beam_compat", "lanser_ops.beam_dask")


@dataclass(frozen=True)
class Import:
    """``importer`` imports ``name``: a module, or something in a module. ``typing``: for type checkers alone."""

    importer: str
    name: str
    line: int
    typing: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.name}"


@dataclass(frozen=True)
class Source:
    """The syntax trees of some packages by module name, and all imports in them."""

    trees: dict[str, ast.Module]
    imports: tuple[Import, ...]

    def module_of(self, name: str) -> str | None:
        """The module that has ``name`` (or is it), None if it is none of ours."""
        while name and name not in self.trees:
            name = name.rpartition(".")[0]
        return name or None

    def graph(self, group: Callable[[str], str] = str) -> dict[str, set[str]]:
        """What each group of modules (by default: each module) imports of the other groups when it runs."""
        edges: dict[str, set[str]] = {group(module): set() for module in self.trees}
        for entry in self.imports:
            imported = self.module_of(entry.name)
            if imported and not entry.typing and group(imported) != group(entry.importer):
                edges[group(entry.importer)].add(group(imported))
        return edges

    def reach(self, starts: Iterable[str], without: Iterable[str] = ()) -> set[str]:
        """``starts``, what they load, directly or not, and the packages that it is in; nothing through ``without``."""
        edges, reached, pending = self.graph(), {"", *without}, list(starts)
        while pending:
            module = pending.pop()
            if module not in reached:
                reached.add(module)
                pending += [*edges[module], module.rpartition(".")[0]]
        return reached - {"", *without}


def read_source(root: Path) -> Source:
    trees = {}
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return Source(trees, tuple(entry for module, tree in trees.items() for entry in _imports(module, tree, False)))


def _imports(module: str, node: ast.AST, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(module, alias.name, child.lineno, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"{module}:{child.lineno}: a relative import; write the whole name"
            yield from (Import(module, f"{child.module}.{alias.name}", child.lineno, typing) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(module, ast.Module(child.body, []), True)
            yield from _imports(module, ast.Module(child.orelse, []), typing)
        else:
            yield from _imports(module, child, typing)


def is_in(name: str, places: Iterable[str]) -> bool:
    """Whether ``name`` is one of ``places`` or lies in one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def group_of(module: str) -> str:
    """A folder or module of lanser_ops; the other packages whole."""
    return ".".join(module.split(".")[: 2 if module.startswith("lanser_ops.") else 1])


def circles(source: Source) -> list[str]:
    """A circle of modules and one of groups, if there are any."""
    broken = []
    for kind, edges in (("modules", source.graph()), ("groups", source.graph(group_of))):
        try:
            graphlib.TopologicalSorter(edges).prepare()
        except graphlib.CycleError as error:
            broken.append(f"{kind}: {' <- '.join(error.args[1])}")
    return broken


def wrong_arrows(source: Source) -> list[str]:
    """Imports that go from a package to one above it, and modules that are imported by name."""
    allowed = {
        "schemas": ("schemas",),
        "lanser_ops": ("lanser_ops", "schemas"),
        "pipelines": ("pipelines", "lanser_ops", "schemas"),
        "training": ("training", "schemas", *SHARED_WITH_TRAINING),
        "lanser": PACKAGES,  # composes the others; none of them imports it
    }
    broken = [
        str(entry)
        for entry in source.imports
        if (module := source.module_of(entry.name)) and not is_in(module, allowed[entry.importer.split(".")[0]])
    ]
    for module, tree in source.trees.items():
        names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}
        if names & {"importlib.import_module", "import_module", "__import__"} and module != LOADS_BY_NAME:
            broken.append(f"{module} imports modules by name")
    return broken


def heavy_imports(source: Source) -> list[str]:
    """Imports of Beam or a recogniser that training, or what it shares with lanser_ops, would load."""
    reached = source.reach(module for module in source.trees if is_in(module, ("training", *SHARED_WITH_TRAINING)))
    loaded = [entry for entry in source.imports if entry.importer in reached and not entry.typing]
    return [str(entry) for entry in loaded if is_in(entry.name, BEAM_AND_RECOGNISERS)]


def mixed_backends(source: Source, entries: dict[str, str]) -> list[str]:
    """Backends that load a module of another one; ``entries`` are their modules, by ``GROUP:NAME``."""
    modules = set(entries.values())
    parts: dict[str, set[str]] = {}
    for backend, module in entries.items():
        folder = module.rpartition(".")[0]
        near = {part for part in source.reach([module], modules - {module}) if part.startswith(f"{folder}.")}
        parts[backend] = near - FOR_EVERY_BACKEND
    return [
        f"{backend} loads {part}, a part of {other}"
        for backend, module in entries.items()
        for part in sorted(source.reach([module]))
        for other in entries
        if other != backend and part in parts[other]
    ]


def private_interfaces(source: Source) -> list[str]:
    """Uses of what Beam and botocore keep to themselves, outside of the modules that are there for them."""
    broken = [str(entry) for entry in source.imports if is_in(entry.name, GUARDED) and _is_private(entry.name)]
    for module, tree in source.trees.items():
        names = {
            alias.asname or alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if is_in(alias.name if isinstance(node, ast.Import) else node.module or "", GUARDED)
        }
        texts = {ast.unparse(node): node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        broken += [
            f"{module}:{line} uses {text}"
            for text, line in texts.items()
            if text.split(".")[0] in names and text.rpartition(".")[2].startswith("_") and not text.endswith("__")
        ]
    return [line for line in broken if not line.startswith(tuple(f"{module}:" for module in PRIVATE_INTERFACES))]


def _is_private(name: str) -> bool:
    hidden = any(part == "internal" or part.startswith("_") for part in name.split("."))
    return hidden or is_in(name, ["apache_beam.runners"])


def shipped_backends() -> dict[str, str]:
    """The modules that the entry points of pyproject.toml name."""
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    return {f"{group}:{name}": module for group, entries in groups.items() for name, module in entries.items()}


@pytest.fixture(scope="module")
def source() -> Source:
    source = read_source(REPOSITORY)
    assert {module.split(".")[0] for module in source.trees} == set(PACKAGES)
    return source


def test_no_modules_or_groups_import_each_other_in_a_circle(source: Source):
    assert circles(source) == []


def test_arrows_run_one_way(source: Source):
    assert wrong_arrows(source) == []


def test_training_loads_neither_beam_nor_a_recogniser(source: Source):
    assert heavy_imports(source) == []


def test_no_backend_is_built_on_another(source: Source):
    backends = shipped_backends()
    assert len(backends) >= 2
    assert set(backends.values()) <= source.trees.keys()
    assert mixed_backends(source, backends) == []


def test_private_interfaces_are_used_in_two_places(source: Source):
    assert private_interfaces(source) == []


def tree(root: Path, files: dict[str, str]) -> Source:
    """The source of made-up packages: file contents by path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in path.relative_to(root).parents[:-1]:
            (root / package / "__init__.py").touch()
        path.write_text(content)
    return read_source(root)


@pytest.mark.parametrize(
    ("files", "broken"),
    [
        (
            {"lanser_ops/a.py": "from lanser_ops import b\n", "lanser_ops/b.py": "import lanser_ops.a\n"},
            [f"{kind}: lanser_ops.a <- lanser_ops.b <- lanser_ops.a" for kind in ("modules", "groups")],
        ),
        (
            {
                "lanser_ops/a/x.py": "from lanser_ops.b.y import f\n",
                "lanser_ops/b/y.py": "f = 1\n",
                "lanser_ops/b/z.py": "def g():\n    from lanser_ops.a import w\n",
                "lanser_ops/a/w.py": "",
            },
            ["groups: lanser_ops.a <- lanser_ops.b <- lanser_ops.a"],
        ),
        (
            {"lanser_ops/a.py": "if TYPE_CHECKING: import lanser_ops.b", "lanser_ops/b.py": "import lanser_ops.a"},
            [],
        ),
    ],
    ids=["modules", "groups, lazily", "for type checkers alone"],
)
def test_a_circle_is_reported(tmp_path: Path, files: dict[str, str], broken: list[str]):
    assert circles(tree(tmp_path, files)) == broken


@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        ("schemas/a.py", "from lanser_ops.common import errors", "schemas.a:1 imports lanser_ops.common.errors"),
        ("lanser_ops/a.py", "import pipelines", "lanser_ops.a:1 imports pipelines"),
        ("lanser_ops/a.py", "from training.model import Model", "lanser_ops.a:1 imports training.model.Model"),
        ("lanser_ops/a.py", "import importlib; importlib.import_module('x')", "lanser_ops.a imports modules by name"),
        ("training/a.py", "from lanser_ops import storage", "training.a:1 imports lanser_ops.storage"),
        ("training/a.py", "from lanser_ops.audio import segment", "training.a:1 imports lanser_ops.audio.segment"),
        ("training/a.py", "if TYPE_CHECKING: from pipelines import job", "training.a:1 imports pipelines.job"),
        ("pipelines/a.py", "from lanser import build", "pipelines.a:1 imports lanser.build"),
        ("lanser/a.py", "from training.model import Model", None),
        ("training/a.py", "from lanser_ops.audio.decode import decode", None),
        ("lanser_ops/command_table.py", "import importlib; importlib.import_module('x')", None),
        ("pipelines/a.py", "from lanser_ops.storage import join", None),
    ],
)
def test_a_wrong_arrow_is_reported(tmp_path: Path, path: str, line: str, broken: str | None):
    modules = ["lanser_ops/common/errors.py", "lanser_ops/storage.py", "lanser_ops/audio/decode.py"]
    modules += ["lanser_ops/audio/segment.py", "pipelines/job.py", "training/model.py", "lanser/jobs.py"]
    files = {**dict.fromkeys(modules, ""), path: f"{line}\n"}
    assert wrong_arrows(tree(tmp_path, files)) == ([broken] if broken else [])


@pytest.mark.parametrize(
    ("files", "broken"),
    [
        ({"training/a.py": "import apache_beam as beam\n"}, "training.a:1 imports apache_beam"),
        (
            {
                "training/a.py": "def f():\n    from lanser_ops.common import b\n",
                "lanser_ops/common/b.py": "from lanser_ops import c\n",
                "lanser_ops/c.py": "def g():\n    from faster_whisper import WhisperModel\n",
            },
            "lanser_ops.c:2 imports faster_whisper.WhisperModel",
        ),
        (
            {"lanser_ops/common/b.py": "", "lanser_ops/__init__.py": "import apache_beam.io\n"},
            "lanser_ops:1 imports apache_beam.io",
        ),
        ({"lanser_ops/audio/segment.py": "import faster_whisper\n", "training/a.py": "import torch\n"}, None),
    ],
    ids=["directly", "through others, lazily", "in a package's __init__", "elsewhere"],
)
def test_beam_in_training_is_reported(tmp_path: Path, files: dict[str, str], broken: str | None):
    assert heavy_imports(tree(tmp_path, files)) == ([broken] if broken else [])


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("from lanser_ops.asr.x import f", ["y loads lanser_ops.asr.x", "y loads lanser_ops.asr.x_help"]),
        # It may be a part of either.
        ("from lanser_ops.asr import x_help", ["x loads lanser_ops.asr.x_help", "y loads lanser_ops.asr.x_help"]),
        ("from lanser_ops.asr.base import Clip", []),
        ("from lanser_ops import storage", []),
    ],
)
def test_a_backend_on_another_is_reported(tmp_path: Path, line: str, broken: list[str]):
    files = {
        "lanser_ops/storage.py": "",
        "lanser_ops/asr/base.py": "",
        "lanser_ops/asr/x_help.py": "from lanser_ops import storage\n",
        "lanser_ops/asr/x.py": "from lanser_ops.asr import base\ndef f():\n    import lanser_ops.asr.x_help\n",
        "lanser_ops/asr/y.py": f"def load():\n    {line}\n",
    }
    backends = {"x": "lanser_ops.asr.x", "y": "lanser_ops.asr.y"}
    reports = mixed_backends(tree(tmp_path, files), backends)
    assert [report.split(",")[0] for report in reports] == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("from apache_beam.internal import pickler", "pipelines.a:1 imports apache_beam.internal.pickler"),
        ("import apache_beam.runners.direct", "pipelines.a:1 imports apache_beam.runners.direct"),
        ("from apache_beam.io.filesystems import FileSystems as F\nF._options", "pipelines.a:2 uses F._options"),
        ("import apache_beam as beam\nbeam.io._x.y", "pipelines.a:2 uses beam.io._x"),
        ("import botocore.session\nbotocore.session._f()", "pipelines.a:2 uses botocore.session._f"),
        ("import apache_beam as beam\nbeam.Map(self._x, beam.io.__name__)", None),
    ],
)
def test_a_private_interface_is_reported(tmp_path: Path, text: str, broken: str | None):
    source = tree(tmp_path, {"pipelines/a.py": text, "lanser_ops/beam_dask.py": text})
    assert private_interfaces(source) == ([broken] if broken else [])
