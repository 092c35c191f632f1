"""Empty trees in the layouts of published corpora."""

from __future__ import annotations

import pytest


@pytest.fixture
def touch(tmp_path):
    """Create empty files below the test's folder."""

    def create(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return create


@pytest.fixture
def rows():
    """File name, label and group of every utterance of a corpus."""
    return lambda corpus: [(row.path.name, row.label, row.group) for row in corpus.utterances]
