"""Read labelled speech: a CSV, or a corpus in the layout it is published in."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path

import numpy as np

from lanser_ops.common.command import check_distinct, positive, warn
from lanser_ops.common.errors import InputError, legible
from lanser_ops.common.progress import tracked
from schemas.suggestions import did_you_mean
from training.corpora.acted import ACTED
from training.corpora.conversations import CONVERSATIONS
from training.corpora.folds import EMOBOX
from training.corpora.utterance import SPLITS, Corpus, Utterance

CORPORA = ACTED | CONVERSATIONS


def add_corpus_options(parser: argparse.ArgumentParser, has_folds: bool = True) -> None:
    """Add the options whose values `read_corpus` and, with ``has_folds``, `training.corpora.folds.make_folds` take."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", required=True, metavar="CSV_OR_CORPUS", help=f"a CSV, or {', '.join(CORPORA)}")
    group.add_argument(
        "--root", metavar="DIR", help="folder of the corpus, or the one that the CSV's paths are relative to"
    )
    group.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="the labels that a CSV may hold; default: all that occur"
    )
    if has_folds:
        group.add_argument(
            "--folds", type=_folds, metavar="N", help="speaker-independent, or emobox; default: the customary number"
        )


def _folds(text: str) -> int | str:
    return text if text == EMOBOX else positive(int)(text)


def read_corpus(data: str, root: str | None, labels: Sequence[str] | None) -> Corpus:
    """The corpus named ``data`` below ``root``, or the CSV at ``data``, whose paths are relative to ``root`` or to it.

    ``labels`` are the labels that a CSV may hold, in their order; by default all that occur, sorted.
    Raises InputError, with file and line, for a corpus or a row that cannot be used.
    """
    if data not in CORPORA:
        if not Path(data).is_file():
            raise InputError(
                f"--data {data}: no such CSV, and no corpus of that name ({', '.join(CORPORA)})"
                f"{did_you_mean(data, CORPORA)}"
            )
        return _read_csv(Path(data), Path(root) if root else Path(data).parent, labels)
    if labels:
        warn(f"--labels does nothing with --data {data}, whose labels are known")
    layout = CORPORA[data]
    if not root or not Path(root).is_dir():
        is_given = f"--root {root}: no such folder" if root else f"--data {data}: needs --root"
        raise InputError(f"{is_given}; give the folder of the corpus")
    utterances = layout.parse(Path(root))
    if not utterances:
        raise InputError(f"{root}: no labelled files as {data} is published; give the folder of the corpus")
    return Corpus(layout.labels, tuple(utterances), layout.folds, layout.emobox)


def _read_csv(path: Path, root: Path, labels: Sequence[str] | None) -> Corpus:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("path", "label") if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: no column {' and no column '.join(missing)}; path and label are required")
            rows = [_csv_row(row, root, labels, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV ({error}), nor one of {', '.join(CORPORA)}") from None
    check_distinct("--labels", labels or ())
    names = tuple(labels or sorted({row.label for row in rows}))
    if len(names) < 2:
        raise InputError(f"{path}: {len(names)} labels; give utterances of two or more")
    return Corpus(names, tuple(rows), 5)


def _csv_row(row: dict[str, str], root: Path, labels: Sequence[str] | None, line: str) -> Utterance:
    values = {name: (row.get(name) or "").strip() or None for name in ("speaker", "split", "start_s", "end_s")}
    path, label = ((row.get(name) or "").strip() for name in ("path", "label"))
    if not path or not label:
        raise InputError(f"{line}: path and label must not be empty")
    if labels and label not in labels:
        hint = did_you_mean(label, labels)
        raise InputError(f"{line}: unknown label {label!r}; --labels has {', '.join(labels)}{hint}")
    if values["split"] not in (None, *SPLITS):
        raise InputError(f"{line}: split {values['split']!r}; use {', '.join(SPLITS)}")
    try:
        start_s, end_s = (float(text) if (text := values[name]) else None for name in ("start_s", "end_s"))
    except ValueError:
        raise InputError(f"{line}: start_s and end_s must be seconds") from None
    if not 0 <= (start_s or 0.0) < (math.inf if end_s is None else end_s):
        raise InputError(f"{line}: start_s {start_s} and end_s {end_s}; use 0 <= start_s < end_s")
    return Utterance(root / path, label, values["speaker"], values["split"], start_s, end_s)


def load(corpus: Corpus, rows: Iterable[int] | None = None) -> tuple[dict[int, np.ndarray], list[str]]:
    """Waveforms by row of the corpus, and a line for each that cannot be decoded; ``rows`` are all by default.

    A waveform is float32 (samples,) at 16 kHz, channels averaged. Raises InputError if none can be decoded.
    """
    from lanser_ops.audio.decode import (
        SAMPLE_RATE,
        AudioError,
        read_all,
    )  # not for --help of the commands that add the options

    rows_of: dict[Path, list[int]] = {}
    for row in range(len(corpus.utterances)) if rows is None else rows:
        rows_of.setdefault(corpus.utterances[row].path, []).append(row)

    def load_file(path: Path) -> list[tuple[int, np.ndarray | str]]:
        try:
            with path.open("rb") as stream:
                wave = read_all(stream)
        except (AudioError, OSError) as error:
            return [(row, f"{path}: {error}") for row in rows_of[path]]
        return [(row, _cut(wave, SAMPLE_RATE, corpus.utterances[row])) for row in rows_of[path]]

    with ThreadPoolExecutor() as pool:
        by_file = tracked(pool.map(load_file, rows_of), len(rows_of), "decoding")
        results = sorted((result for of_file in by_file for result in of_file), key=itemgetter(0))
    waves = {row: result for row, result in results if not isinstance(result, str)}
    skipped = [result for _, result in results if isinstance(result, str)]
    if not waves:
        first = f"; the first: {skipped[0]}" if skipped else ""
        raise InputError(f"none of {len(results)} files can be decoded{first}")
    for line in skipped:
        print(legible(f"cannot be decoded, left out: {line}"), file=sys.stderr)
    return waves, skipped


def _cut(wave: np.ndarray, rate: int, utterance: Utterance) -> np.ndarray | str:
    """The utterance's part of the ``wave`` of its file, or what is wrong with its times."""
    start = round((utterance.start_s or 0.0) * rate)
    end = len(wave) if utterance.end_s is None else round(min(utterance.end_s * rate, len(wave)))
    if start >= end:
        seconds = len(wave) / rate
        return f"{utterance.path}: nothing from {utterance.start_s} to {utterance.end_s} s in {seconds:.2f} s of audio"
    return wave[start:end].copy()  # not a view, which would keep a long recording in memory
