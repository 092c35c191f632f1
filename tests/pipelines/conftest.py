"""What the tests of jobs share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lanser_ops.asr import whisper
from lanser_ops.labelling import nli


@pytest.fixture(scope="session")
def job_metrics():
    """What a job's Beam metrics in the namespace ``lanser`` say, by name: sums of counters, counts of distributions."""

    def of(result) -> dict[str, int]:
        queried = result.metrics().query()
        totals: Counter[str] = Counter()
        for row in (*queried["counters"], *queried["distributions"]):
            if row.key.metric.namespace == "lanser":
                totals[row.key.metric.name] += getattr(row.result, "count", row.result)
        return dict(totals)

    return of


@pytest.fixture(scope="session")
def build_of(lanser):
    """``build_of(manifest, *options)`` is a function ``build(output, *options)``, which builds for ekman with both."""

    def of(manifest: Path, *fixed: str | float):
        def build(output: Path, *options: str | Path) -> Path:
            command = ["build", "--input", manifest, "--output", output, "--taxonomy", "ekman", "--threads", 1]
            done = lanser(*command, *fixed, *options)
            assert done.returncode == 0, done.stderr
            return output

        return build

    return of


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the recogniser nor the labeller can be loaded."""

    def refuse(*_: object) -> None:
        raise RuntimeError("a model was loaded")

    monkeypatch.setattr(whisper, "load", refuse)
    monkeypatch.setattr(nli, "load", refuse)
