"""``lanser report``: the dataset card and report.html of an output directory."""

from __future__ import annotations

from collections.abc import Sequence

from lanser_ops import storage
from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import CARD, REPORT, OutputDir
from lanser_ops.output.summary import statistics_by_taxonomy
from lanser_ops.report.documents import write_documents


def build_parser() -> Parser:
    parser = Parser(
        "report",
        "Write report.html, to look at and listen to a dataset, and README.md, its card.",
        example="lanser report out",
    )
    parser.add_argument("directory", metavar="DIR", help="an output directory of lanser build or relabel")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    out = OutputDir(storage.absolute(args.directory))
    if not statistics_by_taxonomy(read_dataset(out)):
        raise InputError(f"{args.directory}: no finished run there (dataset.json without counts, or none)")
    written = write_documents(out)
    storage.clear_temporary(out.root, out.job)
    for name in (REPORT, CARD):
        print(f"wrote {out.path(name)}" if name in written else f"left {out.path(name)} alone: lanser did not write it")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "report")


if __name__ == "__main__":
    raise SystemExit(main())
