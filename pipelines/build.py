"""``lanser build``: audio to weak-label shards, one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.options import add_label_options
from pipelines import options
from pipelines.estimate_options import RATES, add_dry_run_options
from pipelines.job_spec import Inputs, JobSpec

if TYPE_CHECKING:
    import apache_beam as beam


def build_parser() -> Parser:
    """The command's options; docker/flex/metadata.json lists them for a Flex Template."""
    parser = options.job_parser(
        "build",
        "Audio to weak-label shards, one job.",
        "lanser build --input recordings/ --output out --taxonomy ekman",
    )
    options.add_source_options(parser)
    options.add_asr_options(parser)
    add_label_options(parser)
    options.add_labels_from_option(parser)
    options.add_shard_options(parser)
    options.add_speech_options(parser)
    add_dry_run_options(parser, list(RATES))
    return parser


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to fix."""
    args, run_options = options.parse(build_parser(), argv or [])
    label = options.shard_label_spec(args)
    job = JobSpec(
        inputs=Inputs(options.input_names(args), options.plan_options(args)),
        transcribe=options.transcribe_spec(args),
        asr_name=args.asr_model,
        label=label,
        nli_name=args.nli_model,
        labels_from=args.labels_from and label.nli_model.path,
        score=True,
        shard=options.shard_spec(args, options.speech_spec(args, label.taxonomy)),
        speech_name=args.speech_model,
    )
    if run_options.dry_run:
        from pipelines.dry_run import dry_run

        dry_run(job, run_options)
        return
    from pipelines.job import run_job  # imports Beam: not for --help or a mistyped option

    run_job(job, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "build")


if __name__ == "__main__":
    raise SystemExit(main())
