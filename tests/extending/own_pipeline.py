"""Count the emotions in a folder of recordings: python own_pipeline.py FOLDER OUTPUT [BEAM'S OPTIONS]"""

from __future__ import annotations

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops.backends import ASR, LABELLERS, resolve
from lanser_ops.corpus.plan import encode_plan, make_plan
from lanser_ops.corpus.sources import read_sources
from lanser_ops.handlers import Worker
from lanser_ops.labelling.score_store import needed_sets
from lanser_ops.output.directory import PLAN, OutputDir
from pipelines.transforms import Label, Score, Transcribe
from schemas.specs import LabelSpec, PlanSpec, TranscribeSpec
from schemas.taxonomy import load_taxonomy
from schemas.units import UnitRun


def main(folder: str, output: str, *flags: str) -> None:
    out = OutputDir(output)
    sources = read_sources([folder], output)
    table, units = make_plan(sources, PlanSpec(num_shards=2))
    out.write_bytes(PLAN, encode_plan(table, units))

    worker = Worker(out, sources.roots, device="auto", threads=1)
    transcribe = TranscribeSpec(asr_model=resolve(ASR, "bundled"))
    nli_model = resolve(LABELLERS, "bundled")
    label = LabelSpec(load_taxonomy("ekman"), ("This person feels {}.",), nli_model)
    sets = needed_sets(out, label)

    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        (
            pipeline
            | beam.Create([UnitRun(unit) for unit in units])
            | beam.Reshuffle()
            | Transcribe(worker, "bundled", transcribe)
            | Score(worker, "bundled", label, sets)
            | Label(worker, label, sets)
            | beam.FlatMap(lambda run: out.read_labels("ekman", run.unit))
            | beam.Map(lambda weak_label: weak_label.label)
            | beam.combiners.Count.PerElement()
            | beam.Map(lambda count: print(*count))
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
