"""requirements.lock is that of constraints.txt, and has a hash for everything in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
LOCK = (REPOSITORY / "requirements.lock").read_text()
EXTRAS = ("bundled", "train", "export", "gcp", "aws")
# What torch needs of NVIDIA's on Linux; constraints.txt is made where there is no GPU.
CUDA = re.compile(r"cuda-.*|nvidia-.*|triton")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(text: str) -> dict[str, str]:
    return {normalised(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)}


def test_the_versions_are_those_of_the_constraints():
    constraints = versions((REPOSITORY / "constraints.txt").read_text())
    others = {name for name, version in versions(LOCK).items() if constraints.get(name) != version}
    assert [name for name in sorted(others) if not CUDA.fullmatch(name)] == []


def test_every_requirement_has_hashes():
    entries = re.split(r"\n(?=[\w.-]+==)", LOCK)[1:]
    assert len(entries) == len(versions(LOCK)) > 100
    hashed = re.compile(r"[\w.-]+==\S+( ; [^\\\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n?)+")
    assert [entry for entry in entries if not hashed.fullmatch(entry)] == []


def test_everything_that_is_declared_is_locked():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    names = {normalised(re.match(r"[\w.-]+", line)[0]) for line in declared}
    assert names - versions(LOCK).keys() == set()
