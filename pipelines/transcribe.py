"""``lanser transcribe``: audio to transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from pipelines import options
from pipelines.job_spec import Inputs, JobSpec

if TYPE_CHECKING:
    import apache_beam as beam


def build_parser() -> Parser:
    parser = options.job_parser(
        "transcribe", "Audio to transcripts.", "lanser transcribe --input recordings/ --output out"
    )
    options.add_source_options(parser)
    options.add_asr_options(parser)
    return parser


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to fix."""
    args, run_options = options.parse(build_parser(), argv or [])
    job = JobSpec(
        inputs=Inputs(options.input_names(args), options.plan_options(args)),
        transcribe=options.transcribe_spec(args),
        asr_name=args.asr_model,
    )
    from pipelines.job import run_job  # imports Beam: not for --help or a mistyped option

    run_job(job, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "transcribe")


if __name__ == "__main__":
    raise SystemExit(main())
