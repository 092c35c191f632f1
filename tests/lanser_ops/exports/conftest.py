"""What is in the shards of the shared build, read by `tarfile`, and interpreters that have other loaders."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Stored:
    """A sample as its shard has it."""

    split: str
    fields: dict
    flac: bytes


def stored_samples(folder: Path) -> dict[str, Stored]:
    """The samples of the shards in ``folder`` by key."""
    samples = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                if name.endswith(".json"):
                    fields = json.load(archive.extractfile(name))
                    flac = archive.extractfile(name.replace(".json", ".flac")).read()
                    samples[fields["key"]] = Stored(path.name.partition("-")[0], fields, flac)
    return samples


@pytest.fixture(scope="session")
def stored(built: Path) -> dict[str, Stored]:
    samples = stored_samples(built / "shards" / "ekman")
    assert len(samples) == 10 and {sample.split for sample in samples.values()} == {"train", "val"}
    return samples


@pytest.fixture
def exported(built: Path, tmp_path: Path, lanser):
    """Export the shared build in a format; the folder."""

    def to(name: str) -> Path:
        done = lanser("export-shards", built, "--to", name, "--output", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"wrote {tmp_path / name}: 10 samples of ekman in 4 shards\n"
        return tmp_path / name

    return to


@pytest.fixture(scope="session")
def interpreter():
    """Run a program with the interpreter that an environment variable names, and return what it printed, as JSON.

    NeMo and Energon pin other releases than lanser does, so they are installed in environments of their own.
    """

    def run(variable: str, *arguments: str | Path) -> dict:
        if not (python := os.environ.get(variable)):
            pytest.skip(f"{variable} names no Python that has the library; see CONTRIBUTING.md")
        done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
