"""``lanser taxonomies``: the shipped taxonomies, or one taxonomy in full."""

from __future__ import annotations

from collections.abc import Sequence

from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from schemas.taxonomy import DEFAULT_TEMPLATE, TaxonomyError, load_taxonomy, shipped_taxonomies


def build_parser() -> Parser:
    parser = Parser(
        "taxonomies", "List the shipped taxonomies, or show one in full.", example="lanser taxonomies ekman"
    )
    parser.add_argument("taxonomy", nargs="?", help="a shipped name or a YAML file")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    if args.taxonomy is None:
        for name in shipped_taxonomies():
            taxonomy = load_taxonomy(name)
            print(f"{name:<18} {len(taxonomy.labels):>3} labels  {taxonomy.source}")
        return
    try:
        taxonomy = load_taxonomy(args.taxonomy)
    except TaxonomyError as error:
        raise InputError(str(error)) from None
    print(f"{taxonomy.name}: {taxonomy.source}")
    template = taxonomy.template or DEFAULT_TEMPLATE
    for label in taxonomy.labels:
        words = " / ".join(label.hypotheses)
        sentence = template.replace("{}", words) if words else "(no other label exceeds --neutral-threshold)"
        print(f"  {label.name:<26} {sentence}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "taxonomies")


if __name__ == "__main__":
    raise SystemExit(main())
