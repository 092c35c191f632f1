"""Shared pieces: a small corpus of the shipped examples, and the command line run as a user runs it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples" / "audio"
# Speech in seven formats and four voices, one silent file, one that is cut off: 10 utterances, 2 rejects.
SMALL = [
    "slt/best_day.wav",
    "slt/thank_you.flac",
    "slt/love_you.mp3",
    "slt/someone_downstairs.ogg",
    "slt/dog_died.m4a",
    "rms/hilarious.mp4",
    "slt/miss_my_friends.webm",
    "rms/grandfather.opus",
    "awb/child_is_safe.flac",
    "en-us/stop_shouting.mp3",
    "broken/silent.wav",
    "broken/truncated.flac",
]


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of SMALL."""
    corpus = tmp_path_factory.mktemp("corpus")
    for name in SMALL:
        (corpus / name).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / name, corpus / name)
    return corpus


@pytest.fixture(scope="session")
def lanser():
    """Run ``lanser …`` in a process of its own; returns the finished process, its output as text."""

    def run(*argv: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "lanser_ops", *map(str, argv)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd or REPOSITORY, timeout=500)

    return run


@pytest.fixture(scope="session")
def built(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """The small corpus built for ekman, on one thread, in four units."""
    output = tmp_path_factory.mktemp("built") / "out"
    done = lanser(
        "build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman",
        "--num-shards", 4, "--val-fraction", 0.2, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def digests():
    """SHA-256 of every tar and Parquet file below a folder, by relative name."""

    def of(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".tar", ".parquet")
        }

    return of
