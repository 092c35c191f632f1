"""``lanser relabel``: shards to shards for another taxonomy, without speech recognition and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lanser_ops import storage
from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.options import add_label_options, label_spec
from pipelines import options
from pipelines.estimate_options import add_dry_run_options
from pipelines.job_spec import JobSpec

if TYPE_CHECKING:
    import apache_beam as beam


def build_parser() -> Parser:
    parser = options.job_parser(
        "relabel",
        "Shards to shards for another taxonomy, without ASR or decoding.",
        "lanser relabel --shards out --output relabelled --taxonomy plutchik",
    )
    parser.add_argument(
        "--shards",
        required=True,
        nargs="+",
        metavar="DIR_OR_GLOB",
        help="an output directory, a folder of shards, or the shards themselves; nothing else is needed",
    )
    add_label_options(parser)
    options.add_shard_options(parser)
    parser.add_argument(
        "--sidecar",
        action="store_true",
        help="write the labels alone, without the audio, to be read beside the shards that are relabelled",
    )
    add_dry_run_options(parser, ["--pair-rate"])
    return parser


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to fix."""
    args, run_options = options.parse(build_parser(), argv or [])
    job = JobSpec(
        shards=tuple(storage.absolute(name) for name in args.shards),
        label=label_spec(args),
        nli_name=args.nli_model,
        score=True,
        shard=replace(options.shard_spec(args), sidecar=args.sidecar),
    )
    if run_options.dry_run:
        from pipelines.dry_run import dry_run

        dry_run(job, run_options)
        return
    from pipelines.job import run_job  # imports Beam: not for --help or a mistyped option

    run_job(job, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "relabel")


if __name__ == "__main__":
    raise SystemExit(main())
