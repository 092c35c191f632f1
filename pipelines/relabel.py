"""``lanser relabel``: shards to shards for another taxonomy, without speech recognition and decoding."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from lanser_ops import storage
from lanser_ops.cli import guarded
from lanser_ops.label_options import add_label_options, label_spec
from pipelines import options
from pipelines.graph import Stages
from pipelines.job import run_job


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to mend."""
    made = options.parser("relabel", "Shards to shards for another taxonomy: nothing is recognised or decoded again.")
    made.add_argument(
        "--shards",
        required=True,
        nargs="+",
        metavar="DIR_OR_GLOB",
        help="an output directory, a folder of shards, or the shards themselves; nothing else is needed",
    )
    add_label_options(made)
    options.add_shard_options(made)
    args, run_options = options.parse(made, argv or [])
    wanted = Stages(
        shards=tuple(storage.absolute(name) for name in args.shards),
        label=label_spec(args),
        nli_name=args.nli_model,
        score=True,
        shard=options.shard_spec(args),
    )
    run_job(wanted, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "relabel")


if __name__ == "__main__":
    raise SystemExit(main())
