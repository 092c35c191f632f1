"""``lanser report``: the dataset card and report.html of an output directory."""

from __future__ import annotations

from collections.abc import Sequence

from lanser_ops import storage
from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from lanser_ops.output import report
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import CARD, REPORT, OutputDir


def build_parser() -> Parser:
    parser = Parser("report", "Write README.md and report.html from dataset.json.", example="lanser report out")
    parser.add_argument("directory", metavar="DIR", help="an output directory of lanser build")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    out = OutputDir(storage.absolute(args.directory))
    if not report.statistics_by_taxonomy(read_dataset(out)):
        raise InputError(f"{args.directory}: no finished run there (dataset.json without counts, or none)")
    report.write_documents(out)
    print(f"wrote {out.path(CARD)} and {out.path(REPORT)}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "report")


if __name__ == "__main__":
    raise SystemExit(main())
