"""Labelled speech: a CSV, or a corpus that is recognised by its published file names."""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanser_ops.common.command import positive
from lanser_ops.common.errors import InputError

EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Utterance:
    """A labelled file, or the part of one from ``start_s`` to ``end_s`` in seconds.

    Folds keep a ``group`` together: a speaker, or the speakers of one conversation. ``split`` is one of SPLITS.
    """

    path: Path
    label: str
    group: str | None = None
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Labels in class-index order, labelled utterances, and the customary number of folds."""

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


def by_name(root: Path, pattern: re.Pattern[str], labels: dict[str, str]) -> list[Utterance]:
    """The audio files below ``root`` whose name ``pattern`` matches, sorted by path."""
    utterances = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and (match := pattern.fullmatch(path.stem)):
            utterances.append(Utterance(path, labels[match["label"]], match["group"]))
    return utterances


def iemocap(root: Path) -> list[Utterance]:
    """The utterances of the sessions below ``root`` that have one of the four labels; a group is a session."""
    utterances = []
    for evaluation in sorted(root.rglob("dialog/EmoEvaluation/Ses*.txt")):
        session = evaluation.parents[2]
        for match in IEMOCAP.finditer(evaluation.read_text(encoding="utf-8", errors="replace")):
            if match["label"] in IEMOCAP_LABELS:
                path = session / "sentences" / "wav" / evaluation.stem / f"{match['name']}.wav"
                utterances.append(Utterance(path, IEMOCAP_LABELS[match["label"]], evaluation.stem[:5]))
    return utterances


CORPORA: dict[str, tuple[Callable[[Path], list[Utterance]], tuple[str, ...], int]] = {
    "ravdess": (lambda root: by_name(root, RAVDESS, RAVDESS_LABELS), tuple(RAVDESS_LABELS.values()), 6),
    "cremad": (lambda root: by_name(root, CREMAD, CREMAD_LABELS), tuple(CREMAD_LABELS.values()), 5),
    "emodb": (lambda root: by_name(root, EMODB, EMODB_LABELS), tuple(EMODB_LABELS.values()), 5),
    "iemocap": (iemocap, tuple(dict.fromkeys(IEMOCAP_LABELS.values())), 5),
}


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add the options whose values `read_corpus` and `make_folds` take."""
    parser.add_argument("--data", required=True, metavar="CSV_OR_CORPUS", help=f"a CSV, or {', '.join(CORPORA)}")
    parser.add_argument("--root", help="folder of the corpus, or the one that the CSV's paths are relative to")
    parser.add_argument("--labels", nargs="+", help="the labels that a CSV may hold; default: all that occur")
    parser.add_argument("--folds", type=positive(int), help="speaker-independent folds; default: the customary number")


def read_corpus(data: str, root: str | None, labels: Sequence[str] | None) -> Corpus:
    """The corpus named ``data`` below ``root``, or the CSV at ``data``, whose paths are relative to ``root`` or to it.

    ``labels`` are the labels that a CSV may hold, in their order; by default all that occur, sorted.
    Raises InputError, with file and line, for a corpus or a row that cannot be used.
    """
    if data not in CORPORA:
        return _read_csv(Path(data), Path(root) if root else Path(data).parent, labels)
    reader, names, folds = CORPORA[data]
    if not root or not Path(root).is_dir():
        raise InputError(f"{data}: --root must be the folder of the corpus, not {root}")
    utterances = reader(Path(root))
    if not utterances:
        raise InputError(f"{root}: no file is named like those of {data}; give the folder of the corpus")
    return Corpus(names, tuple(utterances), folds)


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
        raise InputError(f"{line}: unknown label {label!r}; --labels has {', '.join(labels)}")
    if values["split"] not in (None, *SPLITS):
        raise InputError(f"{line}: split {values['split']!r}; use train or test")
    try:
        start_s, end_s = (float(text) if (text := values[name]) else None for name in ("start_s", "end_s"))
    except ValueError:
        raise InputError(f"{line}: start_s and end_s must be seconds") from None
    if not 0 <= (start_s or 0.0) < (math.inf if end_s is None else end_s):
        raise InputError(f"{line}: start_s {start_s} and end_s {end_s}; use 0 <= start_s < end_s")
    return Utterance(root / path, label, values["speaker"], values["split"], start_s, end_s)


def load(corpus: Corpus) -> tuple[list[np.ndarray | None], list[str]]:
    """Waveforms in corpus order, None for one that cannot be decoded, and a line for each of these.

    A waveform is float32 (samples,) at 16 kHz, channels averaged. Raises InputError if none can be decoded.
    """
    from lanser_ops.audio.decode import (
        SAMPLE_RATE,
        AudioError,
        read_all,
    )  # not for --help of the commands that add the options

    rows_of: dict[Path, list[int]] = {}
    for row, utterance in enumerate(corpus.utterances):
        rows_of.setdefault(utterance.path, []).append(row)

    def load_file(path: Path) -> list[tuple[int, np.ndarray | str]]:
        try:
            with path.open("rb") as stream:
                wave = read_all(stream)
        except (AudioError, OSError) as error:
            return [(row, f"{path}: {error}") for row in rows_of[path]]
        return [(row, _cut(wave, SAMPLE_RATE, corpus.utterances[row])) for row in rows_of[path]]

    with ThreadPoolExecutor() as pool:
        by_row = dict(result for results in pool.map(load_file, rows_of) for result in results)
    loaded = [by_row[row] for row in range(len(corpus.utterances))]
    skipped = [line for line in loaded if isinstance(line, str)]
    if len(skipped) == len(loaded):
        raise InputError(f"none of {len(loaded)} files can be decoded; the first: {skipped[0]}")
    for line in skipped:
        print(f"cannot be decoded, left out: {line}", file=sys.stderr)
    return [None if isinstance(wave, str) else wave for wave in loaded], skipped


def _cut(wave: np.ndarray, rate: int, utterance: Utterance) -> np.ndarray | str:
    """The utterance's part of the ``wave`` of its file, or what is wrong with its times."""
    start = round((utterance.start_s or 0.0) * rate)
    end = len(wave) if utterance.end_s is None else round(min(utterance.end_s * rate, len(wave)))
    if start >= end:
        seconds = len(wave) / rate
        return f"{utterance.path}: nothing from {utterance.start_s} to {utterance.end_s} s in {seconds:.2f} s of audio"
    return wave[start:end].copy()  # not a view, which would keep a long recording in memory


def make_folds(corpus: Corpus, folds: int | None) -> list[Fold]:
    """Folds that share no group; if the rows have a split, the single fold that it defines.

    Groups are taken in order, so RAVDESS in 6 folds tests on actors 1 to 4, 5 to 8 and so on, two women and two
    men each. Raises InputError if there are fewer groups than folds, or neither groups nor splits.
    """
    rows = corpus.utterances
    if any(row.split for row in rows):
        fold = Fold(*(tuple(number for number, row in enumerate(rows) if row.split == split) for split in SPLITS))
        if not fold.train or not fold.test or not all(row.split for row in rows):
            raise InputError("the column split must be train or test in every row, and both must occur")
        return [fold]
    groups = sorted({row.group for row in rows if row.group})
    number = folds or min(corpus.folds, len(groups))
    if not all(row.group for row in rows) or not 2 <= number <= len(groups):
        raise InputError(
            f"{len(groups)} speakers for {folds or corpus.folds} speaker-independent folds; "
            "give --folds between 2 and the number of speakers, and a column speaker or split without empty cells"
        )
    fold_of = {group: position * number // len(groups) for position, group in enumerate(groups)}
    tested_in = [fold_of[row.group] for row in rows if row.group]
    return [
        Fold(
            tuple(row for row, tested in enumerate(tested_in) if tested != fold),
            tuple(row for row, tested in enumerate(tested_in) if tested == fold),
        )
        for fold in range(number)
    ]


def take_fraction(rows: Sequence[int], labels: Sequence[int], fraction: float, seed: int) -> list[int]:
    """The same share of every label's ``rows``, at least one each; a smaller share is contained in a larger one.

    ``labels`` gives the class index of every row of the corpus.
    """
    share: list[int] = []
    for label in sorted({labels[row] for row in rows}):
        of_label = [row for row in rows if labels[row] == label]
        order = np.random.default_rng([seed, label]).permutation(len(of_label))
        share += [of_label[position] for position in order[: max(1, round(fraction * len(of_label)))]]
    return sorted(share)
