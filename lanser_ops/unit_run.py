"""What passes between the steps of a job: a unit, and what has become of it so far.

A module of its own with few imports: the first step of a job has units alone, and workers wait for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lanser_ops.plan import Unit

if TYPE_CHECKING:
    from lanser_ops.relabel import ShardTar


@dataclass(frozen=True)
class UnitRun:
    """A unit on its way through the stages, with the seconds that each took in this run.

    ``tar`` is where it comes from, where that is a shard; ``pairs_scored`` counts what the NLI model scored.
    """

    unit: Unit
    tar: ShardTar | None = None
    seconds: tuple[tuple[str, float], ...] = ()
    pairs_scored: int = 0

    def timed(self, stage: str, start: float) -> UnitRun:
        return replace(self, seconds=(*self.seconds, (stage, time.monotonic() - start)))
