"""The stages in a pipeline of somebody else's, and what Beam's metrics say of it."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from lanser_ops import beam_compat
from lanser_ops.backends import ASR, LABELLERS, resolve
from lanser_ops.corpus.plan import encode_plan, make_plan
from lanser_ops.corpus.sources import read_sources
from lanser_ops.handlers import Worker
from lanser_ops.labelling.score_store import needed_sets
from lanser_ops.output.directory import PLAN, OutputDir
from pipelines.transforms import Label, Score, Transcribe, WriteShards
from schemas.specs import LabelSpec, PlanSpec, ShardSpec, TranscribeSpec
from schemas.taxonomy import load_taxonomy
from schemas.units import UnitRun


@pytest.fixture(scope="module")
def run(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, job_metrics) -> tuple[OutputDir, dict]:
    """A pipeline of the four stages over two units: its output directory, and Beam's metrics by name."""
    out = OutputDir(str(tmp_path_factory.mktemp("out")))
    sources = read_sources([str(small_corpus)], out.root)
    plan, units = make_plan(sources, PlanSpec(num_shards=2, val_fraction=0))
    out.write_bytes(PLAN, encode_plan(plan, units))
    labels = LabelSpec(load_taxonomy("ekman"), ("This person feels {}.",), resolve(LABELLERS, "bundled"))
    speech = TranscribeSpec(resolve(ASR, "bundled"))
    sets = needed_sets(out, labels)
    worker = Worker(out, sources.roots, "cpu", 1)
    options = PipelineOptions([])
    with beam.Pipeline(runner=beam_compat.direct_runner(options, 1, verbose=True), options=options) as pipeline:
        done = (
            pipeline
            | beam.Create([UnitRun(unit) for unit in units])
            | Transcribe(worker, "bundled", speech)
            | Score(worker, "bundled", labels, sets)
            | Label(worker, labels, sets)
            | WriteShards(worker, labels, ShardSpec(min_score=0.39), speech.asr_model.id)
        )
        assert_that(
            done | beam.Map(lambda run: (run.unit.index, run.pairs_scored > 0)), equal_to([(0, True), (1, True)])
        )
    return out, job_metrics(pipeline.result)


def test_the_stages_write_what_a_job_writes(run: tuple[OutputDir, dict]):
    out, _ = run
    assert sorted(name for name in out.names() if name.endswith(".tar")) == [
        "shards/ekman/train-00000-of-00002.tar",
        "shards/ekman/train-00001-of-00002.tar",
    ]
    assert pq.read_table(f"{out.root}/labels/ekman").num_rows == 10


def test_metrics_count_what_the_job_did(run: tuple[OutputDir, dict]):
    out, metrics = run
    rejects = pq.read_table(f"{out.root}/rejects").to_pylist()
    low = sum(row["reason"] == "low_score" for row in rejects)
    assert metrics["utterances"] == 12
    assert metrics["pairs"] == 10 * 7
    assert metrics["rejects/no_speech"] == metrics["rejects/truncated"] == 1
    assert metrics["rejects/low_score"] == low > 0
    assert metrics["samples"] == 10 - low
    seconds = sum(pq.read_table(f"{out.root}/transcripts").column("duration_s").to_pylist())
    silence = next(row["end_s"] - row["start_s"] for row in rejects if row["reason"] == "no_speech" and row["end_s"])
    assert metrics["audio_milliseconds"] == pytest.approx((seconds + silence) * 1000, abs=2)
    for stage in ("transcribe", "score", "label", "shard"):
        assert metrics[f"{stage}_milliseconds"] == 2


def test_a_stage_takes_units_and_nothing_else():
    worker = Worker(OutputDir("out"), (), "cpu", 1)
    pipeline = beam.Pipeline(options=PipelineOptions(["--runtime_type_check"]))
    labels = LabelSpec(load_taxonomy("ekman"), ("{}.",), resolve(LABELLERS, "bundled"), "contradiction", "none")
    with pytest.raises(beam.typehints.decorators.TypeCheckError, match="UnitRun"):
        pipeline | beam.Create(["a path"]) | Label(worker, labels, ())
