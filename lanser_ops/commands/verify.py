"""``lanser verify``: whether an output directory holds what it says, to the last byte."""

from __future__ import annotations

from collections.abc import Sequence

from lanser_ops import storage
from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from lanser_ops.output.directory import OutputDir
from lanser_ops.verification import directory


def build_parser() -> Parser:
    parser = Parser(
        "verify",
        "Read everything in an output directory and check it: every utterance is a sample or a reject, "
        "keys are unique, shards agree with the Parquet files and labels with the stored scores, and files are as "
        "recorded in dataset.json. Exit status 1 with the first differences.",
        example="lanser verify out",
    )
    parser.add_argument("directory", metavar="DIR", help="an output directory, local, gs://… or s3://…")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    directory.check(OutputDir(storage.absolute(args.directory)))
    print(f"{args.directory}: everything is as recorded")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "verify")


if __name__ == "__main__":
    raise SystemExit(main())
