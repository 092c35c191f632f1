"""An output with three taxonomies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

VALENCE = "name: valence\nlabels:\n- {name: bad, hypothesis: sad}\n- {name: good, hypothesis: happy}\n"
AROUSAL = "name: arousal\nlabels:\n- {name: calm, hypothesis: calm}\n- {name: excited, hypothesis: excited}\n"


@pytest.fixture(scope="package")
def three(built: Path, small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """The small corpus in three taxonomies, one of them with fewer samples."""
    folder = tmp_path_factory.mktemp("three")
    output = folder / "out"
    shutil.copytree(built, output)
    for name, text, options in (("valence", VALENCE, ()), ("arousal", AROUSAL, ("--keep-top", "0.5"))):
        (folder / f"{name}.yaml").write_text(text)
        done = lanser(
            "build", "--input", small_corpus, "--output", output, "--taxonomy", folder / f"{name}.yaml",
            "--num-shards", "4", "--val-fraction", "0.2", "--threads", "1", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return output
