"""``lanser build``: audio to weak-label shards, one job."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from lanser_ops.cli import Parser, guarded
from lanser_ops.label_options import add_label_options, label_spec
from pipelines import options
from pipelines.graph import Inputs, Stages
from pipelines.job import run_job


def parser() -> Parser:
    """The command's options; docker/flex/metadata.json lists them for a Flex Template."""
    made = options.parser("build", "Audio to weak-label shards, one job.")
    options.add_source_options(made)
    options.add_asr_options(made)
    add_label_options(made)
    options.add_shard_options(made)
    return made


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to mend."""
    args, run_options = options.parse(parser(), argv or [])
    wanted = Stages(
        inputs=Inputs(options.input_names(args), options.plan_options(args)),
        transcribe=options.transcribe_spec(args),
        asr_name=args.asr_model,
        label=label_spec(args),
        nli_name=args.nli_model,
        score=True,
        shard=options.shard_spec(args),
    )
    run_job(wanted, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "build")


if __name__ == "__main__":
    raise SystemExit(main())
