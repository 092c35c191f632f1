"""What every corpus of labelled speech becomes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg")
TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")


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
    """Labels in class-index order, labelled utterances, and the customary number of folds.

    ``emobox`` has the groups that each fold of EmoBox tests on, and is empty for a corpus whose folds are not known.
    """

    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    folds: int
    emobox: tuple[tuple[str, ...], ...] = ()


def clip_names(corpus: Corpus) -> list[str]:
    """A name for every utterance: its path below the deepest folder of the corpus, and its times in seconds.

    It is the same wherever the corpus lies, so that predictions of two runs can be paired.
    """
    home = os.path.commonpath([row.path.parent for row in corpus.utterances])
    names = []
    for row in corpus.utterances:
        times = "" if row.start_s is None and row.end_s is None else f"#{row.start_s or 0:g}-{row.end_s or ''}"
        names.append(row.path.relative_to(home).as_posix() + times)
    return names


@dataclass(frozen=True)
class PublishedLayout:
    """How a published corpus is read: a parser of its folder, and what `Corpus` says of it."""

    parse: Callable[[Path], list[Utterance]]
    labels: tuple[str, ...]
    folds: int
    emobox: tuple[tuple[str, ...], ...] = ()
