"""Lengths from headers, and a sample through all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lanser_ops.audio import lengths
from lanser_ops.audio.lengths import DEFAULT_BYTES_PER_S, pieces_of, row_lengths, sample_rows
from lanser_ops.corpus.plan import make_plan
from lanser_ops.corpus.sources import read_sources
from schemas.specs import PlanSpec


def test_lengths_and_a_sample_of_them(small_corpus: Path, tmp_path: Path):
    manifest = tmp_path / "list.csv"
    long = Path(__file__).parents[3] / "examples" / "audio" / "long" / "two_minutes.opus"
    rows = [f"{small_corpus}/slt/best_day.wav,,,", f"{small_corpus}/slt/thank_you.flac,0.5,1.5,", f"{long},,,"]
    rows += ["missing.wav,,,320000", f"{long},0,100,", f"{small_corpus}/slt/love_you.mp3,0.25,,"]
    manifest.write_text("path,start_s,end_s,bytes\n" + "\n".join(rows))
    sources = read_sources([str(manifest)], str(tmp_path / "out"))
    plan, _ = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    lengths = row_lengths(plan, sources.roots)
    names = [
        f"{path.rsplit('/')[-1]} {start}"
        for path, start in zip(*plan.select(["path", "start_s"]).to_pydict().values(), strict=True)
    ]
    seconds = dict(zip(names, lengths.seconds.round(1).tolist(), strict=True))
    assert seconds["best_day.wav None"] == 3.2
    assert seconds["thank_you.flac 0.5"] == 1.0
    assert seconds["two_minutes.opus None"] == 122.9
    assert seconds["two_minutes.opus 0.0"] == 100
    assert (lengths.headers, lengths.estimated, seconds["missing.wav None"]) == (3, 0, 0)
    pieces = pieces_of(lengths.seconds, np.zeros(len(plan), bool))
    assert int(pieces.sum()) == 1 + 1 + 3 + 1 + 2 + 1
    everything = sample_rows(plan, lengths.seconds, pieces, 100)
    assert len({(row.source, row.start_s, row.end_s) for row in everything}) == 9
    assert sum((row.end_s or 0) - (row.start_s or 0) for row in everything if "two_minutes" in row.source) == (
        pytest.approx(seconds["two_minutes.opus None"] + 100, abs=0.1)
    )
    assert len(sample_rows(plan, lengths.seconds, pieces, 3)) == 3


def test_lengths_follow_from_bytes_where_no_header_is_read(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan, _ = make_plan(read_sources([str(small_corpus / "slt")], str(tmp_path)), PlanSpec(val_fraction=0))
    monkeypatch.setattr(lengths, "LOCAL_HEADERS", 0)
    measured = row_lengths(plan, (str(small_corpus / "slt"),))
    assert (measured.headers, measured.estimated) == (0, len(plan))
    assert measured.seconds.tolist() == (plan.column("bytes").to_numpy() / DEFAULT_BYTES_PER_S).tolist()
