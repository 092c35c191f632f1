"""Labelled speech: a CSV, or a corpus known by its published file naming."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.audio import AudioError, decode
from training.errors import InputError, count

EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Utterance:
    """A labelled stretch of a file. ``group`` is what folds keep together: the speaker, or who spoke together."""

    path: Path
    label: str
    group: str | None = None
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Labels in class-index order, and how many folds are customary."""

    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    folds: int


@dataclass(frozen=True)
class Fold:
    """Rows of a corpus to train on and rows to test on."""

    train: tuple[int, ...]
    test: tuple[int, ...]


# Livingstone and Russo 2018: modality-channel-emotion-intensity-statement-repetition-actor; 03-01 is audio, speech.
RAVDESS = re.compile(r"03-01-(?P<label>0[1-8])-\d\d-\d\d-\d\d-(?P<group>\d\d)")
RAVDESS_LABELS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
# Cao et al. 2014: actor_sentence_emotion_level.
CREMAD = re.compile(r"(?P<group>\d{4})_[A-Z]{3}_(?P<label>[A-Z]{3})_[A-Z]{1,2}")
CREMAD_LABELS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
}  # fmt: skip
# Burkhardt et al. 2005: speaker, text, emotion (a German initial), version.
EMODB = re.compile(r"(?P<group>\d\d)[ab]\d\d(?P<label>[WLEAFTN])[a-z]?")
EMODB_LABELS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
# Busso et al. 2008; the four classes that the literature compares on, excitement counted as happiness.
IEMOCAP = re.compile(r"^\[[\d.]+ - [\d.]+\]\s+(?P<name>Ses\d\d[FM]_\S+)\s+(?P<label>[a-z]{3})\s", re.MULTILINE)
IEMOCAP_LABELS = {"ang": "anger", "hap": "happiness", "exc": "happiness", "neu": "neutral", "sad": "sadness"}


def by_name(root: Path, pattern: re.Pattern, labels: dict[str, str]) -> list[Utterance]:
    """The audio files below ``root`` whose name ``pattern`` matches, sorted by path."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and (match := pattern.fullmatch(path.stem)):
            found.append(Utterance(path, labels[match["label"]], match["group"]))
    return found


def iemocap(root: Path) -> list[Utterance]:
    """The utterances of the sessions below ``root`` that have one of the four labels; a group is a session."""
    found = []
    for told in sorted(root.rglob("dialog/EmoEvaluation/Ses*.txt")):
        session = told.parents[2]
        for match in IEMOCAP.finditer(told.read_text(encoding="utf-8", errors="replace")):
            if match["label"] in IEMOCAP_LABELS:
                path = session / "sentences" / "wav" / told.stem / f"{match['name']}.wav"
                found.append(Utterance(path, IEMOCAP_LABELS[match["label"]], told.stem[:5]))
    return found


CORPORA: dict[str, tuple[Callable[[Path], list[Utterance]], tuple[str, ...], int]] = {
    "ravdess": (lambda root: by_name(root, RAVDESS, RAVDESS_LABELS), tuple(RAVDESS_LABELS.values()), 6),
    "cremad": (lambda root: by_name(root, CREMAD, CREMAD_LABELS), tuple(CREMAD_LABELS.values()), 5),
    "emodb": (lambda root: by_name(root, EMODB, EMODB_LABELS), tuple(EMODB_LABELS.values()), 5),
    "iemocap": (iemocap, tuple(dict.fromkeys(IEMOCAP_LABELS.values())), 5),
}


def add_corpus_options(made: argparse.ArgumentParser) -> None:
    """The options whose values `read_corpus` and `make_folds` take."""
    made.add_argument("--data", required=True, metavar="CSV_OR_CORPUS", help=f"a CSV, or {', '.join(CORPORA)}")
    made.add_argument("--root", help="folder of the corpus, or that the CSV's paths are relative to")
    made.add_argument("--labels", nargs="+", help="the labels that a CSV may hold; default: all that occur")
    made.add_argument("--folds", type=count)


def read_corpus(data: str, root: str | None, labels: Sequence[str] | None) -> Corpus:
    """The corpus named ``data`` below ``root``, or the CSV at ``data``, whose paths are relative to ``root`` or to it.

    ``labels`` are the labels that a CSV may hold, in their order; by default all that occur, sorted.
    Raises InputError for what cannot be used, with file and line.
    """
    if data not in CORPORA:
        return _read_csv(Path(data), Path(root) if root else Path(data).parent, labels)
    reader, names, folds = CORPORA[data]
    if not root or not Path(root).is_dir():
        raise InputError(f"{data}: --root must be the folder of the corpus, not {root}")
    utterances = reader(Path(root))
    if not utterances:
        raise InputError(f"{root}: no file there is named as those of {data} are")
    return Corpus(names, tuple(utterances), folds)


def _read_csv(path: Path, root: Path, labels: Sequence[str] | None) -> Corpus:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("path", "label") if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: no column {' and no column '.join(missing)}; there must be path and label")
            rows = [_csv_row(row, root, labels, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV that can be read ({error}), nor one of {', '.join(CORPORA)}") from None
    names = tuple(labels or sorted({row.label for row in rows}))
    if len(names) < 2:
        raise InputError(f"{path}: {len(names)} labels; there must be two or more")
    return Corpus(names, tuple(rows), 5)


def _csv_row(row: dict[str, str], root: Path, labels: Sequence[str] | None, where: str) -> Utterance:
    values = {name: (row.get(name) or "").strip() or None for name in ("path", "label", "speaker", "split")}
    if not values["path"] or not values["label"]:
        raise InputError(f"{where}: path and label must not be empty")
    if labels and values["label"] not in labels:
        raise InputError(f"{where}: unknown label {values['label']!r}; --labels has {', '.join(labels)}")
    if values["split"] not in (None, *SPLITS):
        raise InputError(f"{where}: split {values['split']!r}; use train or test")
    try:
        start_s, end_s = (float(row[name]) if row.get(name) else None for name in ("start_s", "end_s"))
    except ValueError:
        raise InputError(f"{where}: start_s and end_s must be seconds") from None
    return Utterance(root / values["path"], values["label"], values["speaker"], values["split"], start_s, end_s)


def load(corpus: Corpus) -> tuple[list[np.ndarray | None], list[str]]:
    """Waveforms in corpus order, None for a file that does not decode, and a line for each of these.

    Raises InputError where none decodes.
    """

    def one(utterance: Utterance) -> np.ndarray | str:
        try:
            return decode(utterance.path, utterance.start_s, utterance.end_s)
        except AudioError as error:
            return f"{utterance.path}: {error}"

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(one, corpus.utterances))
    skipped = [line for line in found if isinstance(line, str)]
    if len(skipped) == len(found):
        raise InputError(f"none of {len(found)} files decodes; the first: {skipped[0]}")
    for line in skipped:
        print(f"does not decode, left out: {line}", file=sys.stderr)
    return [None if isinstance(wave, str) else wave for wave in found], skipped


def make_folds(corpus: Corpus, folds: int | None) -> list[Fold]:
    """Folds that share no group; where the rows have a split, the one fold that it names.

    Groups are taken in order, so RAVDESS in 6 folds tests on actors 1 to 4, 5 to 8 and so on, two women and two
    men each. Raises InputError where there are fewer groups than folds, or neither groups nor splits.
    """
    rows = corpus.utterances
    if any(row.split for row in rows):
        fold = Fold(*(tuple(n for n, row in enumerate(rows) if row.split == split) for split in SPLITS))
        if not fold.train or not fold.test or not all(row.split for row in rows):
            raise InputError("the column split must say train or test in every row, and each in some")
        return [fold]
    groups = sorted({row.group for row in rows if row.group})
    wanted = folds or min(corpus.folds, len(groups))
    if not all(row.group for row in rows) or not 2 <= wanted <= len(groups):
        raise InputError(
            f"{len(groups)} speakers for {folds or corpus.folds} speaker-independent folds; "
            "give --folds between 2 and the number of speakers, and a column speaker or split that is filled in"
        )
    number = {group: position * wanted // len(groups) for position, group in enumerate(groups)}
    of = [number[row.group] for row in rows]
    return [
        Fold(tuple(n for n, f in enumerate(of) if f != fold), tuple(n for n, f in enumerate(of) if f == fold))
        for fold in range(wanted)
    ]


def take_fraction(rows: Sequence[int], labels: Sequence[int], fraction: float, seed: int) -> list[int]:
    """A share of ``rows``, of every label alike and at least one each; a smaller share lies within a larger one.

    ``labels`` gives the class index of every row of the corpus.
    """
    taken: list[int] = []
    for label in sorted({labels[row] for row in rows}):
        of_label = [row for row in rows if labels[row] == label]
        order = np.random.default_rng([seed, label]).permutation(len(of_label))
        taken += [of_label[place] for place in order[: max(1, round(fraction * len(of_label)))]]
    return sorted(taken)
