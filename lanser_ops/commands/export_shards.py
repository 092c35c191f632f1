"""``lanser export-shards``: the shards of an output directory for the loaders of other libraries."""

from __future__ import annotations

from collections.abc import Sequence

from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from lanser_ops.exports.formats import FORMATS, export


def build_parser() -> Parser:
    parser = Parser(
        "export-shards",
        "Write the shards of one taxonomy for another loader. Audio is never encoded again.",
        example="lanser export-shards out --to lhotse --output out-lhotse",
    )
    parser.add_argument("directory", metavar="DIR", help="an output directory of lanser build or relabel")
    parser.add_argument(
        "--to",
        required=True,
        choices=FORMATS,
        metavar="FORMAT",
        help="; ".join(f"{name}: {form.summary}" for name, form in FORMATS.items()),
    )
    parser.add_argument("--output", required=True, metavar="OUT", help="a local folder that is empty or does not exist")
    parser.add_argument("--taxonomy", metavar="NAME", help="which one, where DIR has the shards of several")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    source = export(args.directory, args.to, args.taxonomy, args.output)
    samples = source.content["taxonomies"][source.taxonomy]["accounts"]["samples"]
    print(f"wrote {args.output}: {samples:,} samples of {source.taxonomy} in {len(source.shards):,} shards")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "export-shards", interrupted="interrupted; nothing was written to --output")


if __name__ == "__main__":
    raise SystemExit(main())
