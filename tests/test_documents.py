"""The documents: their commands and code run as they stand, their links lead somewhere, their tables are true.

A fenced block that cannot run here says why: ``skip="…"`` after its language. The blocks of a document run in order,
in a folder of its own that has ``examples``; ``out/demo``, which `make demo` writes for a reader, is a smaller build
there. Each line of a ``text`` block is printed by the block before it; ``…`` in it stands for anything. Every ``yaml``
block with labels is a taxonomy that loads.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from lanser_ops.command_table import COMMANDS, command_module
from lanser_ops.corpus.manifests import COLUMNS
from schemas.records import (
    LABEL_SCHEMA,
    REASONS,
    REJECT_SCHEMA,
    SCHEMA_VERSION,
    SCORE_SCHEMA,
    SOURCE_SCHEMA,
    SPEECH_SCHEMA,
    TRANSCRIPT_SCHEMA,
)
from schemas.taxonomy import parse_taxonomy

REPOSITORY = Path(__file__).parents[1]
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: skip=\"(?P<skip>[^\"]+)\")?\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL
)
RUN = ("bash", "python")
# Its code equals files that tests/extending runs.
TESTED_ELSEWHERE = "docs/extending.md"
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
]
# How an indented block starts that is a command or Python code rather than a drawing or a formula.
INDENTED_CODE = re.compile(
    r"^\n    (?:\$ )?(?:(?:lanser|python3?|make|pip|git|gcloud|gsutil|docker|export|eval|cd|curl|time"
    r"|import|from|def|class|with|for)[ \n]|\.venv/).*",
    re.MULTILINE,
)
TABLES = {
    "Manifests": COLUMNS,
    "plan.parquet": SOURCE_SCHEMA,
    "transcripts/": TRANSCRIPT_SCHEMA,
    "scores/": SCORE_SCHEMA,
    "labels/": LABEL_SCHEMA,
    "speech/": SPEECH_SCHEMA,
    "rejects/": REJECT_SCHEMA,
}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``skip`` is why it cannot run here, empty where it can."""

    language: str
    skip: str
    content: str


def blocks(document: str) -> list[Block]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [Block(match["language"], match["skip"] or "", match["content"]) for match in FENCE.finditer(text)]


def runs(block: Block) -> bool:
    return block.language in RUN and not block.skip


def commands(text: str) -> Iterator[list[str]]:
    """The ``lanser`` commands in ``text``, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


RUNNABLE = [name for name in DOCUMENTS if name != TESTED_ELSEWHERE and any(map(runs, blocks(name)))]


def test_documents_with_blocks_are_collected():
    assert {"README.md", "docs/api.md", "docs/tutorial.md", "docs/training.md"} <= set(RUNNABLE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_is_in_fenced_blocks(document: str):
    """A block that is indented instead, or whose first line FENCE does not know, would not be run."""
    text = FENCE.sub("", (REPOSITORY / document).read_text(encoding="utf-8"))
    assert INDENTED_CODE.findall(text) == []
    assert re.findall(r"^ *```.*", text, re.MULTILINE) == []


@pytest.mark.parametrize("document", RUNNABLE)
def test_the_blocks_of_a_document_run(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanser, built: Path
):
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    shutil.copytree(built, tmp_path / "out" / "demo")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = ""
    for block in blocks(document):
        if block.language == "text":
            missing = [line for line in block.content.splitlines() if not _is_printed(line, printed)]
            assert not missing, printed
        elif runs(block) and block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(compile(block.content, document, "exec"), names)
            printed = stdout.getvalue()
        elif runs(block):
            printed = ""
            for program, *argv in commands(block.content):
                assert program == "lanser", f"{document}: only lanser runs in this test; mark the block with skip"
                done = lanser(*argv)
                assert done.returncode == 0, done.stderr
                printed += done.stdout


def test_the_taxonomies_in_documents_load():
    files = [
        block.content
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language == "yaml" and "labels:" in block.content
    ]
    assert [parse_taxonomy(file.encode(), "taxonomy.yaml").name for file in files] == [
        "moods",
        "moods",
        "valence",
        "mine",
    ]


def _is_printed(line: str, printed: str) -> bool:
    return re.search(".*".join(map(re.escape, line.split("…"))), printed) is not None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_options_in_a_document_exist(document: str):
    """Also in blocks that do not run."""
    text = (REPOSITORY / document).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ *lanser [a-z][a-z-]*(?: .*)?$", text, re.MULTILINE):
        command, *words = shlex.split(line, comments=True)[1:]
        known = command_module(command).build_parser().option_names()
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        # Beam's options have underscores in their names.
        unknown = [option for option in options if option not in known and "_" not in option]
        assert set(unknown) <= {"--runner", "--region", "--project"}, line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_running_text_exist(document: str):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    assert set(re.findall(r"`lanser ([a-z][a-z-]+)", text)) <= COMMANDS.keys()


def test_the_links_of_the_readme_lead_to_files():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert len(links) > 20
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_the_site_builds_and_its_links_hold(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text()
    assert "fonts.googleapis.com" not in page and "cdn" not in page
    assert "label_texts" in (tmp_path / "site" / "api.html").read_text()


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_of_formats_has_every_column(heading: str):
    schema = TABLES[heading]
    section = _section(heading)
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.+) \|$", section, re.MULTILINE)
    assert [(name, kind) for name, kind, _ in rows] == [(field.name, _kind(field.type)) for field in schema]


def _kind(kind: pa.DataType) -> str:
    return re.sub(r"\b(element|item): ", "", str(kind))


def _section(heading: str) -> str:
    text = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    return next(part for part in re.split(r"^##+ ", text, flags=re.MULTILINE) if part.startswith(heading))


def test_formats_has_every_reason_and_the_version():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", _section("Reasons"), re.MULTILINE))
    assert rows == REASONS
    text = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    assert f"`schema_version` in dataset.json, now {SCHEMA_VERSION};" in " ".join(text.split())


def test_the_messages_of_troubleshooting_exist():
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    packages = ("lanser_ops", "pipelines", "training", "schemas")
    source = "".join(path.read_text() for package in packages for path in (REPOSITORY / package).rglob("*.py"))
    assert len(messages) > 5
    assert [message for message in messages if message not in source] == []


def test_the_documents_are_a_site_without_broken_links(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "labels.html").read_text(encoding="utf-8").count('<div class="highlight">') > 10
