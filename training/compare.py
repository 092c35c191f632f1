"""``lanser compare``: the difference between two arms of fine-tuning, with its interval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanser_ops.common.command import guarded
from lanser_ops.common.parser import Parser
from schemas.metrics import FIGURES

if TYPE_CHECKING:
    from training.statistics import Comparison, Interval

TITLES = {"ua": "UA", "wa": "WA", "macro_f1": "macro-F1"}


def build_parser() -> Parser:
    parser = Parser(
        "compare",
        "The difference between two arms, paired by seed and fold, with 95 % intervals of a bootstrap "
        "over speakers and seeds.",
        example="lanser compare --arm weak --baseline none",
    )
    parser.add_argument(
        "--arm", nargs="+", required=True, metavar="RUN", help="outputs of lanser finetune or evaluate, or their files"
    )
    parser.add_argument("--baseline", nargs="+", required=True, metavar="RUN", help="what the arm is compared with")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="all figures and the difference of every fold")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv``, compare, print a table; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    from training.predictions import read_predictions  # not for --help: scipy takes a while to import
    from training.statistics import compare

    arm, baseline = ([row for path in paths for row in read_predictions(path)] for paths in (args.arm, args.baseline))
    comparisons = compare(arm, baseline)
    print(comparison_table(comparisons))
    first = comparisons[0]
    print(
        f"\n% with 95 % intervals; {first.speakers} speakers, {len(first.seeds)} seeds. An interval of a difference "
        "that holds 0 shows no difference."
    )
    if args.output:
        report = [_plain(comparison) for comparison in comparisons]
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {args.output}")


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """The arms and their difference as a Markdown table, a row per share of the labels and figure."""
    lines = ["| labels | figure | arm | baseline | difference |", "|---|---|---|---|---|"]
    for row in comparisons:
        for name in FIGURES:
            cells = (percent(row.arm[name]), percent(row.baseline[name]), percent(row.difference[name], "+"))
            lines.append(f"| {row.fraction:.0%} | {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(interval: Interval, sign: str = "") -> str:
    """An interval in per cent, such as ``54.0 (50.1 to 57.8)``; ``sign`` is that of a format specification."""
    if interval.low is None or interval.high is None:
        return f"{100 * interval.estimate:{sign}.1f}"
    estimate, low, high = (f"{100 * value:{sign}.1f}" for value in (interval.estimate, interval.low, interval.high))
    return f"{estimate} ({low} to {high})"


def _plain(comparison: Comparison) -> dict[str, Any]:
    """For JSON, which has no tuples for keys."""
    pairs = [
        {"seed": seed, "fold": fold, "ua_difference": round(value, 6)}
        for (seed, fold), value in comparison.pairs.items()
    ]
    return {**asdict(comparison), "pairs": pairs}


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "compare", interrupted="interrupted; nothing was saved", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
