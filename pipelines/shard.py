"""``lanser shard``: an output directory's transcripts, labels and audio to shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.options import add_label_options
from pipelines import options
from pipelines.job_spec import JobSpec

if TYPE_CHECKING:
    import apache_beam as beam


def build_parser() -> Parser:
    parser = options.job_parser(
        "shard",
        "An output directory's transcripts, labels and audio to shards.",
        "lanser shard --output out --taxonomy goemotions",
    )
    add_label_options(parser)
    options.add_labels_from_option(parser)
    options.add_shard_options(parser)
    options.add_speech_options(parser)
    return parser


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to fix."""
    args, run_options = options.parse(build_parser(), argv or [])
    label = options.shard_label_spec(args)
    speech = options.speech_spec(args, label.taxonomy)
    job = JobSpec(
        label=label,
        labels_from=args.labels_from and label.nli_model.path,
        score=bool(args.labels_from),
        shard=options.shard_spec(args, speech),
        speech_name=args.speech_model,
    )
    from pipelines.job import run_job  # imports Beam: not for --help or a mistyped option

    run_job(job, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "shard")


if __name__ == "__main__":
    raise SystemExit(main())
