"""``lanser agreement``: how well weak labels agree with those that people gave to the same texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from lanser_ops import storage
from lanser_ops.common.command import Parser, guarded
from lanser_ops.common.errors import InputError
from lanser_ops.labelling import weak_labels
from lanser_ops.labelling.options import add_device_options, add_label_options, label_spec
from lanser_ops.labelling.texts import score_texts
from schemas.metrics import confusion, scores
from schemas.taxonomy import Taxonomy

MAX_MAP_BYTES = 1_000_000
MEAN = "mean of them"
MARGINS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def run(argv: Sequence[str]) -> None:
    made = Parser(
        prog="lanser agreement", description="Label texts that people have labelled, and compare, with every prior."
    )
    made.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="CSV, TSV or JSONL, perhaps .gz, with text and label (in JSONL also labels, a list)",
    )
    made.add_argument("--map", metavar="FILE.yaml", help="the file's labels to the taxonomy's, as 'grief: sadness'")
    add_label_options(made, priors=())
    add_device_options(made)
    args = made.parse_args(argv)
    spec = label_spec(args)
    texts, truth, passed_over = read_labelled(args.csv, read_map(args.map), spec.taxonomy)
    found = score_texts(texts, args.nli_model, spec, args.device, args.threads)
    print(f"{len(texts)} texts; {passed_over} with no or several labels were passed over")
    print(f"{spec.taxonomy.name}, {', '.join(map(repr, spec.templates))}, {spec.nli_model.id}")
    ways = {template: found.of_template(place) for place, template in enumerate(spec.templates)}
    if len(ways) > 1:
        ways[MEAN] = found
    width = max(len("template"), *map(len, ways))
    print(f"\n{'template':<{width}}  prior        WA      UA  macro-F1")
    counts = {}
    for name, one in ways.items():
        entailment = weak_labels.average(one.by_template)
        for prior in weak_labels.PRIORS:
            picked = weak_labels.corrected(entailment, one.prior(prior)).argmax(axis=1)
            counts[prior] = confusion(truth, picked, len(spec.taxonomy.labels))
            print(f"{name:<{width}}  {prior:<8}{_figures(counts[prior])}")
    # The last way is all that there is: the mean of the templates, or the only one.
    picked, leads = entailment.argmax(axis=1), weak_labels.margins(entailment)
    print(f"\n{'margin, without prior':<{width}}  kept          WA      UA  macro-F1")
    for least in MARGINS:
        kept = np.flatnonzero(leads >= least)
        if not len(kept):
            break
        figures = _figures(confusion(np.array(truth)[kept], picked[kept], len(spec.taxonomy.labels)))
        print(f"{f'at least {least:g}':<{width}}  {len(kept) / len(texts):<8.1%}{figures}")
    for prior, one in counts.items():
        print(f"\nprior {prior}: rows are people's labels, columns the weak ones")
        print("\n".join(_matrix(one, spec.taxonomy)))


def _figures(counts: np.ndarray) -> str:
    figures = scores(counts)
    return f"{figures['wa']:>7.1%} {figures['ua']:>7.1%}  {figures['macro_f1']:>8.1%}"


def read_labelled(path: str, renamed: Mapping[str, str], taxonomy: Taxonomy) -> tuple[list[str], list[int], int]:
    """(texts, label indices, rows passed over) of a file of labelled texts.

    Rows with no text, or with other than one label, are passed over. Raises InputError where the file cannot be
    read, lacks the columns, or names a label that the taxonomy does not have.
    """
    places = {label.name: place for place, label in enumerate(taxonomy.labels)}
    texts: list[str] = []
    truth: list[int] = []
    passed_over = 0
    for number, (text, labels) in enumerate(_rows(path), start=1):
        names = {renamed.get(label, label) for label in labels}
        unknown = sorted(names - places.keys())
        if unknown:
            raise InputError(
                f"--csv {path}: row {number}: {unknown[0]!r} is not a label of {taxonomy.name} "
                f"({', '.join(places)}); --map FILE.yaml says which stands for it"
            )
        if len(labels) == 1 and text.strip():
            texts.append(text.strip())
            truth.append(places[names.pop()])
        else:
            passed_over += 1
    if not texts:
        raise InputError(f"--csv {path}: no row with a text and one label")
    return texts, truth, passed_over


def read_map(path: str | None) -> dict[str, str]:
    """Names to names from a YAML file; empty without one. Raises InputError where it holds anything else."""
    if path is None:
        return {}
    try:
        content = storage.read_bytes(path)[: MAX_MAP_BYTES + 1]
        found = yaml.safe_load(content) if len(content) <= MAX_MAP_BYTES else None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--map {path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for pair in found.items() for name in pair):
        raise InputError(f"--map {path}: not a YAML mapping from label to label, such as 'grief: sadness'")
    return found


def _rows(path: str) -> Iterator[tuple[str, list[str]]]:
    """(text, labels) of every row."""
    kind = path.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    readers = {"csv": lambda lines: csv.DictReader(lines), "tsv": lambda lines: csv.DictReader(lines, delimiter="\t")}
    readers["jsonl"] = lambda lines: (json.loads(line) for line in lines if line.strip())
    if kind not in readers:
        raise InputError(f"--csv {path}: is no .csv, .tsv or .jsonl (perhaps with .gz)")
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


def _row(row: Any, where: str) -> tuple[str, list[str]]:
    labels = None
    if isinstance(row, dict):
        labels = row.get("labels") if "labels" in row else row.get("label")
        labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{where}: has no label; the columns text and label are needed")
    if not isinstance(row.get("text"), str):
        raise InputError(f"{where}: has no text; the columns text and label are needed")
    return row["text"], [label.strip() for label in labels if label.strip()]


def _matrix(counts: np.ndarray, taxonomy: Taxonomy) -> Iterator[str]:
    """The confusion matrix; columns are numbered as the rows are."""
    names = [f"{place:>2} {label.name}" for place, label in enumerate(taxonomy.labels)]
    wide = max(map(len, names))
    digits = max(len(str(counts.max())), 2) + 1
    yield " " * wide + "".join(f"{place:>{digits}}" for place in range(len(names)))
    for name, row in zip(names, counts, strict=True):
        yield f"{name:<{wide}}" + "".join(f"{count:>{digits}}" if count else f"{'.':>{digits}}" for count in row)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "agreement")


if __name__ == "__main__":
    raise SystemExit(main())
