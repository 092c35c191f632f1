"""Work units, and what passes between the steps of a job.

A module with few imports: the first step of a job handles units alone, and workers wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Unit:
    """A work unit: one shard, end to end. ``split`` is ``train`` or ``val``."""

    index: int
    count: int
    split: str
    sources: int
    bytes: int

    @property
    def part(self) -> str:
        """The unit's file name in every Parquet folder."""
        return f"part-{self.index:05d}-of-{self.count:05d}.parquet"

    @property
    def shard(self) -> str:
        """The file name of the unit's shard."""
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}.tar"


@dataclass(frozen=True)
class ShardTar:
    """An existing shard that is relabelled: its path, and the unit that its file name stands for."""

    unit: Unit
    path: str


@dataclass(frozen=True)
class StageCounts:
    """What a stage did to a unit in this run: zeros where the unit was done already.

    ``rejects`` counts by reason; ``audio_s`` is the length of the utterances, rejects included, in seconds.
    """

    utterances: int = 0
    audio_s: float = 0.0
    pairs: int = 0
    samples: int = 0
    rejects: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class FileRecord:
    """A file of the output directory by its name there, with its size in bytes and its SHA-256, in hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class UnitRun:
    """A unit on its way through the stages, with the seconds that each stage took in this run.

    ``tar`` is the shard that the unit is read from, if any; ``pairs_scored`` counts the pairs that the labeller scored.
    ``files`` are the unit's files that dataset.json does not record yet.
    """

    unit: Unit
    tar: ShardTar | None = None
    seconds: tuple[tuple[str, float], ...] = ()
    pairs_scored: int = 0
    files: tuple[FileRecord, ...] = ()

    def timed(self, stage: str, start: float) -> UnitRun:
        """This run with the time since ``start`` (of `time.monotonic`) entered for ``stage``."""
        return replace(self, seconds=(*self.seconds, (stage, time.monotonic() - start)))


@dataclass(frozen=True)
class Part:
    """Part ``number`` of the ``count`` parts, from 1, that a job's units are dealt to.

    >>> Part(2, 3).of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    >>> str(Part(2, 3))
    '2/3'
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """As files are named: ``00002-of-00003``."""
        return f"{self.number:05d}-of-{self.count:05d}"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """The items of this part, dealt by index."""
        return list(items[self.number - 1 :: self.count])
