"""What every corpus of labelled speech becomes."""

from __future__ import annotations

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


@dataclass(frozen=True)
class PublishedLayout:
    """How a published corpus is read: a parser of its folder, and what `Corpus` says of it."""

    parse: Callable[[Path], list[Utterance]]
    labels: tuple[str, ...]
    folds: int
    emobox: tuple[tuple[str, ...], ...] = ()
