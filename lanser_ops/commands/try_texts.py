"""``lanser try``: the labels of a few texts with their scores, to see what a taxonomy or template does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import resources

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import average, margins
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.context import previous_texts
from lanser_ops.labelling.options import add_device_options, add_label_options, label_spec
from lanser_ops.labelling.texts import TextScores, score_texts
from schemas.specs import NO_PRIOR, LabelSpec

# Where the output is not a terminal: wide enough for a label, its scores and a few templates.
PLAIN_WIDTH = 160


def build_parser() -> Parser:
    parser = Parser(
        "try",
        "Show the labels of texts, best first, with their scores and the margin of the winner.",
        example='lanser try "I cannot believe it!" --taxonomy ekman',
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="in quotes")
    parser.add_argument("--file", metavar="FILE", help="a text file, one text per line")
    add_label_options(parser)
    add_device_options(parser)
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    texts = [text.strip() for text in [*args.texts, *_lines(args.file)] if text.strip()]
    if not texts:
        raise InputError("no text to label; give some, in quotes, or --file with one per line")
    spec, text_scores = score(args, texts)
    ranked = text_scores.ranked(spec)
    console = Console()
    console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
    for row, text in enumerate(texts):
        console.print(_table(text, spec, text_scores.by_template[:, row], ranked[row]))
        if text_scores.truncated[row]:
            console.print("  longer than the model reads: its end was ignored")


def score(args: argparse.Namespace, texts: Sequence[str]) -> tuple[LabelSpec, TextScores]:
    """What the options in ``args`` decide, and the scores of ``texts``.

    Raises InputError, as `label_spec` does, and for what is not text: bytes of a terminal that are not UTF-8.
    """
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or text != text.encode(errors="replace").decode():
            raise InputError(f"text {number}: {text!r} is not text in UTF-8; give strings")
    spec = label_spec(args)
    # In the order in which they are given, the texts are a dialogue.
    previous = previous_texts(texts, [None] * len(texts), range(len(texts)), spec.context)
    text_scores = score_texts(texts, args.nli_model, spec, args.device, args.threads, previous, reference_sentences())
    return spec, text_scores


def reference_sentences() -> list[str]:
    """Everyday sentences of many moods, which stand for the corpus in the corpus prior of a few texts."""
    return (resources.files("lanser_ops") / "assets" / "reference_sentences.txt").read_text("utf-8").splitlines()


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return stream.readlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--file {path}: cannot be read as UTF-8 text ({' '.join(str(error).split())})") from None


def _table(text: str, spec: LabelSpec, by_template: np.ndarray, ranked: np.ndarray) -> Table:
    """``by_template`` is float32 (templates, labels), ``ranked`` (labels,) what the labels are sorted by."""
    table = Table(title=escape(text), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("label")
    is_corrected = spec.prior != NO_PRIOR or spec.taxonomy.absence is not None or spec.temperature != 1
    columns = [("corrected", ranked)] if is_corrected else []
    if is_corrected or len(by_template) > 1:
        columns.append(("entailment", average(by_template[:, None])[0]))
    if len(by_template) > 1 or not is_corrected:
        columns += list(zip(map(escape, spec.templates), by_template, strict=True))
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_column("")
    for rank, index in enumerate(np.argsort(-ranked, kind="stable")):
        scores = [f"{column[index]:.4f}" for _, column in columns]
        mark = "" if rank else f"<- the label, margin {margins(ranked[None])[0]:.4f}"
        table.add_row(escape(spec.taxonomy.labels[index].name), *scores, mark, style=None if rank else "bold")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "try")


if __name__ == "__main__":
    raise SystemExit(main())
