"""``lanser agreement``: how well weak labels agree with the labels that people gave to the same texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lanser_ops import storage
from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.label_map import MAX_BYTES, parse_map
from lanser_ops.common.label_scores import margins
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.context import previous_texts
from lanser_ops.labelling.options import add_device_options, add_label_options, label_spec
from lanser_ops.labelling.texts import TextScores, score_texts
from schemas.metrics import confusion, scores
from schemas.specs import CORPUS_PRIOR, NO_PRIOR, NULL_PRIOR, PRIORS, LabelSpec
from schemas.suggestions import did_you_mean
from schemas.taxonomy import Taxonomy

MEAN = "mean of them"
PRIORS_SHOWN = (
    (NO_PRIOR, 0.0),
    *((CORPUS_PRIOR, strength) for strength in (0.25, 0.5, 0.75, 1.0)),
    *((NULL_PRIOR, strength) for strength in (0.5, 1.0)),
)
# Columns of a terminal; and characters of a label's name that a reader still recognises.
MATRIX_WIDTH, SHORTEST_NAME = 100, 4
MARGINS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, the index of the label that people gave each, and the context of each (see `context.previous_texts`).

    ``skipped`` counts the other rows of the file, which have no text, no label, or several labels.
    """

    texts: list[str]
    truth: list[int]
    previous: list[list[str]]
    skipped: int


@dataclass(frozen=True)
class _Row:
    text: str
    labels: list[str]
    dialogue: str | None
    turn: int | None


def build_parser() -> Parser:
    parser = Parser(
        "agreement",
        "Label texts that people have labelled, and compare, with several priors.",
        example="lanser agreement --csv labelled.csv --taxonomy ekman",
    )
    parser.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="CSV, TSV or JSONL, optionally .gz, with the columns text and label (in JSONL also labels, a list); for "
        "--context also dialogue and, unless the rows are in order, turn",
    )
    parser.add_argument(
        "--map", metavar="FILE.yaml", help="the file's labels to the taxonomy's, such as 'grief: sadness'"
    )
    add_label_options(parser)
    add_device_options(parser)
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    spec = label_spec(args)
    labelled = read_labelled(args.csv, read_map(args.map), spec.taxonomy, spec.context)
    text_scores = score_texts(labelled.texts, args.nli_model, spec, args.device, args.threads, labelled.previous)
    print(f"{len(labelled.texts)} texts; {labelled.skipped} with no label or several were skipped")
    print(f"{spec.taxonomy.name}, {', '.join(map(repr, spec.templates))}, {spec.nli_model.id}")
    _compare(text_scores, labelled.truth, spec)


def _compare(text_scores: TextScores, truth: Sequence[int], spec: LabelSpec) -> None:
    """Print the figures of every template and prior; of the chosen prior, those of every margin and the confusion."""
    labels = len(spec.taxonomy.labels)
    rows = {template: text_scores.of_template(index) for index, template in enumerate(spec.templates)}
    if len(rows) > 1:
        rows[MEAN] = text_scores
    chosen = (spec.prior, spec.prior_strength)
    priors = sorted({*PRIORS_SHOWN, chosen}, key=lambda prior: (PRIORS.index(prior[0]), prior[1]))
    width = max(len("template"), *map(len, rows))
    print(f"\n{'template':<{width}}  prior   strength     WA      UA  macro-F1")
    for name, row in rows.items():
        for prior, strength in priors:
            ranked = row.ranked(replace(spec, prior=prior, prior_strength=strength))
            matrix = confusion(truth, ranked.argmax(axis=1), labels)
            mark = "  <- these options" if (prior, strength) == chosen else ""
            print(f"{name:<{width}}  {prior:<6}  {strength:>8g}{_figures(matrix)}{mark}")
    # From here on all templates count: the last row is their mean, or the only one.
    ranked = text_scores.ranked(spec)
    predicted, leads = ranked.argmax(axis=1), margins(ranked)
    print(f"\n{'margin, with these options':<{width}}  share         WA      UA  macro-F1")
    for threshold in MARGINS:
        selected = np.flatnonzero(leads >= threshold)
        if not len(selected):
            break
        figures = _figures(confusion(np.array(truth)[selected].tolist(), predicted[selected].tolist(), labels))
        print(f"{f'at least {threshold:g}':<{width}}  {len(selected) / len(truth):<8.1%}{figures}")
    print(f"\nprior {spec.prior}, strength {spec.prior_strength:g}: rows are people's labels, columns the weak labels")
    print("\n".join(_matrix(confusion(truth, predicted, labels), spec.taxonomy)))


def _figures(counts: np.ndarray) -> str:
    figures = scores(counts)
    return f"{figures['wa']:>7.1%} {figures['ua']:>7.1%}  {figures['macro_f1']:>8.1%}"


def read_labelled(path: str, renamed: Mapping[str, str], taxonomy: Taxonomy, context: int) -> LabelledTexts:
    """The labelled texts of a file.

    Rows without a text, without a label or with several are skipped, but are context of other rows of their dialogue.
    Raises InputError where the file cannot be read, lacks the columns, or names a label that the taxonomy does not
    have, or if ``context`` is not 0 and no row has a dialogue.
    """
    indices = {label.name: index for index, label in enumerate(taxonomy.labels)}
    rows = list(_rows(path))
    previous = _previous(rows, context, path) if context else [[]] * len(rows)
    texts: list[str] = []
    truth: list[int] = []
    contexts: list[list[str]] = []
    for number, (row, texts_before) in enumerate(zip(rows, previous, strict=True), start=1):
        names = {renamed.get(label, label) for label in row.labels}
        unknown = sorted(names - indices.keys())
        if unknown:
            raise InputError(
                f"--csv {path}: row {number}: {unknown[0]!r} is not a label of {taxonomy.name} "
                f"({', '.join(indices)}); map it to one with --map FILE.yaml{did_you_mean(unknown[0], indices)}"
            )
        if len(row.labels) == 1 and row.text:
            texts.append(row.text)
            truth.append(indices[names.pop()])
            contexts.append(texts_before)
    if not texts:
        raise InputError(f"--csv {path}: no row with a text and one label")
    return LabelledTexts(texts, truth, contexts, len(rows) - len(texts))


def _previous(rows: Sequence[_Row], context: int, path: str) -> list[list[str]]:
    """The context of every row. Rows without a text are no context, and rows without a dialogue have none."""
    if all(row.dialogue is None for row in rows):
        raise InputError(f"--context {context}: {path} has no column dialogue, which says what belongs together")
    turns = [row.turn for row in rows]
    if all(turn is None for turn in turns):
        turns = list(range(len(rows)))
    for number, (row, turn) in enumerate(zip(rows, turns, strict=True), start=1):
        if row.dialogue is not None and turn is None:
            raise InputError(f"--csv {path}: row {number} has a dialogue but no turn, which other rows have")
    members = [index for index, row in enumerate(rows) if row.dialogue is not None and row.text]
    previous: list[list[str]] = [[] for _ in rows]
    texts, dialogues = [rows[index].text for index in members], [rows[index].dialogue for index in members]
    contexts = previous_texts(texts, dialogues, [turns[index] for index in members], context)
    for index, texts_before in zip(members, contexts, strict=True):
        previous[index] = texts_before
    return previous


def read_map(path: str | None) -> dict[str, str]:
    """Labels to labels from a YAML file; empty without one. Raises InputError for a file that holds anything else."""
    if path is None:
        return {}
    try:
        content = storage.read_bytes(path)[: MAX_BYTES + 1]
    except OSError as error:
        raise InputError(f"--map {path}: cannot be read ({' '.join(str(error).split())})") from None
    return parse_map(content, f"--map {path}")


def _rows(path: str) -> Iterator[_Row]:
    kind = path.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    readers: dict[str, Callable[[Iterable[str]], Iterable[Any]]] = {
        "csv": csv.DictReader,
        "tsv": partial(csv.DictReader, delimiter="\t"),
        "jsonl": lambda lines: (json.loads(line) for line in lines if line.strip()),
    }
    if kind not in readers:
        raise InputError(f"--csv {path}: is not a .csv, .tsv or .jsonl file (optionally with .gz)")
    try:
        with storage.open_read(path) as stream:
            plain = gzip.GzipFile(fileobj=stream) if path.endswith(".gz") else stream
            lines = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
            for number, row in enumerate(readers[kind](lines), start=1):
                yield _row(row, f"--csv {path}: row {number}")
    except InputError:
        raise
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise InputError(f"--csv {path}: cannot be read as {kind} ({' '.join(str(error).split())})") from None


def _row(row: Any, where: str) -> _Row:
    labels = None
    if isinstance(row, dict):
        labels = row.get("labels") if "labels" in row else row.get("label")
        labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{where}: has no label; the columns text and label are needed")
    if not isinstance(row.get("text"), str):
        raise InputError(f"{where}: has no text; the columns text and label are needed")
    try:
        turn = None if row.get("turn") in (None, "") else int(row["turn"])
    except (TypeError, ValueError):
        raise InputError(f"{where}: its turn is {str(row['turn'])[:60]!r}; a whole number is needed") from None
    dialogue = None if row.get("dialogue") in (None, "") else str(row["dialogue"])
    return _Row(row["text"].strip(), [label.strip() for label in labels if label.strip()], dialogue, turn)


def _matrix(counts: np.ndarray, taxonomy: Taxonomy) -> Iterator[str]:
    """The confusion matrix, line by line, rows and columns under the names of the labels."""
    names = taxonomy.label_names
    width = max(map(len, names))
    columns = _column_names(names)
    widths = [max(len(name), len(str(counts.max())), 2) for name in columns]
    yield " " * width + "".join(f"  {name:>{size}}" for name, size in zip(columns, widths, strict=True))
    for name, row in zip(names, counts, strict=True):
        cells = (f"  {count or '.':>{size}}" for count, size in zip(row.tolist(), widths, strict=True))
        yield f"{name:<{width}}" + "".join(cells)


def _column_names(names: Sequence[str]) -> list[str]:
    """``names``, cut to the shortest beginnings that tell them apart where the whole names need more than a screen."""
    longest = max(map(len, names))
    if sum(len(name) + 2 for name in names) + longest <= MATRIX_WIDTH:
        return list(names)
    for size in range(SHORTEST_NAME, longest):
        if len({name[:size] for name in names}) == len(names):
            return [name[:size] for name in names]
    return list(names)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "agreement")


if __name__ == "__main__":
    raise SystemExit(main())
