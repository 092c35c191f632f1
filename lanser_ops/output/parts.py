"""A job in parts, which run wherever and whenever they like: which units a part does, and what it leaves behind.

A part that has done its units leaves a file in `PARTS`, with what their files do not say: the seconds that each stage
took, the pairs that were scored, and the hashes of the shards. The part that finds the files of all others does what
needs all units, and accounts for them; these files are removed then.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from lanser_ops.output.directory import NULL, OutputDir
from lanser_ops.output.files import is_of_unit, records
from schemas.units import FileRecord, Part, UnitRun

PARTS = "parts"


def write_runs(out: OutputDir, part: Part, job_hash: str, runs: Iterable[UnitRun]) -> None:
    """Say that the part of the job with ``job_hash`` (a hash of its options) has done its units."""
    rows = [
        {
            "unit": run.unit.index,
            "seconds": run.seconds,
            "pairs_scored": run.pairs_scored,
            "files": [asdict(record) for record in run.files],
        }
        for run in sorted(runs, key=lambda run: run.unit.index)
    ]
    out.write_bytes(_name(part), json.dumps({"job": job_hash, "runs": rows}).encode())


def with_earlier(out: OutputDir, job_hash: str, runs: Iterable[UnitRun]) -> list[UnitRun]:
    """``runs`` with what the finished parts of the job say of their units."""
    rows = {row["unit"]: row for name in out.names(PARTS) for row in _rows(out, name, job_hash) or ()}
    return [_with(run, rows[run.unit.index]) if run.unit.index in rows else run for run in runs]


def missing(out: OutputDir, job_hash: str, count: int, units: int) -> list[Part]:
    """The parts of ``count`` that have some of the ``units`` and have not done them."""
    parts = [Part(number, count) for number in range(1, min(count, units) + 1)]
    return [part for part in parts if _rows(out, _name(part), job_hash) is None]


def accounted(out: OutputDir, content: dict[str, Any], taxonomy: str | None) -> bool:
    """Whether ``content``, that of dataset.json, accounts for the files of all units as they are."""
    entry = content if taxonomy is None else content.get("taxonomies", {}).get(taxonomy, {})
    # The scores of the empty premise are those of no unit, and not recorded.
    existing = {
        name: size for name, size in out.names().items() if is_of_unit(name) and posixpath.basename(name) != NULL
    }
    return "accounts" in entry and existing == {record.name: record.bytes for record in records(content).values()}


def clear(out: OutputDir) -> None:
    out.delete(out.names(PARTS))


def _name(part: Part) -> str:
    return f"{PARTS}/{part.name}.json"


def _rows(out: OutputDir, name: str, job_hash: str) -> list[dict] | None:
    """What a part says of its units; None if it has not done them, or did so for a job with other options."""
    try:
        content = json.loads(out.read_bytes(name))
    except FileNotFoundError:
        return None
    return content["runs"] if content["job"] == job_hash else None


def _with(run: UnitRun, row: dict) -> UnitRun:
    return replace(
        run,
        seconds=tuple((stage, seconds) for stage, seconds in row["seconds"]),
        pairs_scored=row["pairs_scored"],
        files=tuple(FileRecord(**record) for record in row["files"]),
    )
