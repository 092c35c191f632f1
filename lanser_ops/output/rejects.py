"""A unit's rejects: one file that several stages add to, each replacing its own rows.

Rejects are written before the file that marks a stage as done, so after a kill between the two the stage is simply
run again. Two attempts at one unit write the same bytes, and neither removes what the other has added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import pyarrow as pa

from lanser_ops.output.directory import OutputDir
from schemas.records import REJECT_SCHEMA, Reject, from_table, to_table
from schemas.units import Unit

SHARD_STAGE = "shard:"


def shard_stage(taxonomy: str) -> str:
    """The ``stage`` of rejects that concern one taxonomy's shards alone."""
    return f"{SHARD_STAGE}{taxonomy}"


def is_shard_stage(stage: str) -> bool:
    """False for the rejects that concern every taxonomy: what never became a transcript."""
    return stage.startswith(SHARD_STAGE)


def write_transcripts(out: OutputDir, unit: Unit, transcripts: pa.Table, rejects: list[Reject]) -> None:
    """Write the unit's first rejects, then its transcripts; those of another attempt stay as they are.

    Where another attempt was faster, its shard stage may have added rejects since.
    """
    if not out.exists(out.transcripts(unit)):
        replace_rejects(out, unit, lambda stage: not is_shard_stage(stage), rejects)
        out.write_table(out.transcripts(unit), transcripts)


def seconds_of(reason: str, start_s: float | None, end_s: float | None) -> float:
    """The length of a reject's audio: 0 where its times are unknown or do not lie in a recording."""
    return 0.0 if reason == "bad_range" or start_s is None or end_s is None else end_s - start_s


def count_reasons(rejects: Iterable[Reject]) -> tuple[tuple[str, int], ...]:
    """How many of ``rejects`` have each reason, sorted by reason."""
    return tuple(sorted(Counter(reject.reason for reject in rejects).items()))


def write_shard_rejects(out: OutputDir, unit: Unit, taxonomy: str, rejects: list[Reject]) -> None:
    """Put ``rejects`` in the place of those that the unit has for the shards of ``taxonomy``."""
    replace_rejects(out, unit, shard_stage(taxonomy).__eq__, rejects)


def replace_rejects(out: OutputDir, unit: Unit, owns: Callable[[str], bool], rejects: list[Reject]) -> None:
    """Put ``rejects`` in the place of those whose stage ``owns`` accepts.

    Rejects that concern every taxonomy come first in the file.
    """
    name = out.rejects(unit)
    stored = from_table(out.read_table(name), Reject) if out.exists(name) else None
    others = [reject for reject in stored or [] if not owns(reject.stage)]
    rows = sorted([*others, *rejects], key=lambda row: (is_shard_stage(row.stage), row.stage, row.key, row.reason))
    if rows != stored:
        out.write_table(name, to_table(rows, REJECT_SCHEMA))
