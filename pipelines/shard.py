"""``lanser shard``: an output directory's transcripts, labels and audio to shards."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from lanser_ops.cli import guarded
from lanser_ops.label_options import add_label_options, label_spec
from pipelines import options
from pipelines.graph import Stages
from pipelines.job import run_job


def run(argv: Sequence[str] | None = None, test_pipeline: beam.Pipeline | None = None) -> None:
    """Parse ``argv`` and run the job; raises InputError for what the user has to mend."""
    made = options.parser("shard", "An output directory's transcripts, labels and audio to shards.")
    add_label_options(made)
    options.add_shard_options(made)
    args, run_options = options.parse(made, argv or [])
    wanted = Stages(label=label_spec(args), shard=options.shard_spec(args))
    run_job(wanted, run_options, test_pipeline)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "shard")


if __name__ == "__main__":
    raise SystemExit(main())
