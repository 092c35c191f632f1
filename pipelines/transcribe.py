"""``lanser transcribe``: audio to transcripts."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from lanser_ops.cli import guarded
from pipelines import options
from pipelines.graph import Inputs, Stages
from pipelines.job import run_job


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to mend."""
    made = options.parser("transcribe", "Audio to transcripts.")
    options.add_source_options(made)
    options.add_asr_options(made)
    args, run_options = options.parse(made, argv or [])
    wanted = Stages(
        inputs=Inputs(options.input_names(args), options.plan_options(args)),
        transcribe=options.transcribe_spec(args),
        asr_name=args.asr_model,
    )
    run_job(wanted, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "transcribe")


if __name__ == "__main__":
    raise SystemExit(main())
