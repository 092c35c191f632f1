"""What a run finds in its output directory: options that differ, units that are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lanser_ops import dataset, storage
from lanser_ops.errors import InputError
from lanser_ops.plan import Unit
from lanser_ops.scores import ScoreSet

# A stage that changes takes those after it along. The first three concern all taxonomies; a directory has the
# first two, or the third where its transcripts come from shards.
ORDER = ("plan", "transcribe", "unpack", "label", "shard")
FOR_ALL = ORDER[:3]


@dataclass(frozen=True)
class Sections:
    """The options of the stages that concern a command, by stage, as dataset.json holds them.

    Those that are not in ``made`` the command only reads.
    """

    taxonomy: str | None
    by_stage: dict[str, dict[str, Any]]
    made: frozenset[str]


@dataclass(frozen=True)
class Done:
    """Indices of the units that each stage has finished already; only stages of this run are named."""

    total: int
    by_stage: dict[str, frozenset[int]]

    def all(self, stage: str) -> bool:
        return len(self.by_stage.get(stage, ())) == self.total

    def lines(self) -> list[str]:
        """What is skipped, for the log."""
        return [
            f"{stage}: skipping {len(units)} of {self.total} units that are done ({_ranges(sorted(units))})"
            for stage, units in self.by_stage.items()
            if units
        ]


def stored(before: dict[str, Any], stage: str, taxonomy: str | None) -> dict[str, Any] | None:
    """The section of ``stage`` in dataset.json, None where that stage has not run."""
    if stage in FOR_ALL:
        return before.get(stage)
    return before.get("taxonomies", {}).get(taxonomy, {}).get(stage)


def check(output: str, before: dict[str, Any], now: Sections, overwrite: bool) -> dict[str, Any]:
    """Compare options with those that made the files; returns what of dataset.json still holds.

    Raises InputError that names what differs, unless ``overwrite``: then the files of the first stage that
    differs, and of those after it, are removed (of all stages that the command makes where none differs).
    What the command only reads, it never removes.
    """
    told: list[str] = []
    first = None
    for stage in now.by_stage:
        was = stored(before, stage, now.taxonomy)
        if was is None or not (found := _differences(stage, was, now.by_stage[stage])):
            continue
        if stage not in now.made:
            raise InputError(
                f"--output {output}: its {stage}s were made with other options: {'; '.join(found)}. "
                f"Give the options of lanser {stage}, or run that again first"
            )
        first = first or stage
        told.extend(found)
    if told and not overwrite:
        raise InputError(
            f"--output {output} was made with other options: {'; '.join(told)}. "
            "Give --overwrite to build again what that touches, or another --output"
        )
    if not overwrite:
        return before
    first = first or next(stage for stage in now.by_stage if stage in now.made)
    stages = set(ORDER[ORDER.index(first) :])
    whole = first in FOR_ALL
    storage.delete_files(dataset.written_files(output, None if whole else now.taxonomy, stages))
    kept = {key: value for key, value in before.items() if key in ORDER and key not in stages}
    taxonomies = {} if whole else dict(before.get("taxonomies", {}))
    if not whole and now.taxonomy in taxonomies:
        taxonomies[now.taxonomy] = {
            stage: section
            for stage, section in taxonomies[now.taxonomy].items()
            if stage in ORDER and stage not in stages
        }
    return {**kept, "taxonomies": taxonomies}


def merge(kept: dict[str, Any], now: Sections) -> dict[str, Any]:
    """dataset.json's content before the work: options of this run beside those of earlier ones."""
    content = dict(kept)
    taxonomies = dict(kept.get("taxonomies", {}))
    for stage, section in now.by_stage.items():
        if stage in FOR_ALL:
            content[stage] = section
        else:
            taxonomies[now.taxonomy] = {**taxonomies.get(now.taxonomy, {}), stage: section}
    return {**content, "taxonomies": taxonomies}


def finished(
    output: str, units: Sequence[Unit], stages: Sequence[str], taxonomy: str | None, sets: Sequence[ScoreSet]
) -> Done:
    """Which units have the files of ``stages`` (``transcribe``, ``unpack``, ``score``, ``label``, ``shard``)."""
    there = {path[len(output) + 1 :] for path in storage.list_files(output)}
    files = {
        "transcribe": lambda unit: [dataset.transcripts_file(unit)],
        "unpack": lambda unit: [dataset.transcripts_file(unit)],
        "score": lambda unit: [one.file(unit) for one in sets],
        "label": lambda unit: [dataset.labels_file(taxonomy, unit)],
        "shard": lambda unit: [dataset.shard_file(taxonomy, unit)],
    }
    return Done(
        len(units),
        {stage: frozenset(unit.index for unit in units if there.issuperset(files[stage](unit))) for stage in stages},
    )


def _differences(stage: str, was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if stage == "unpack":
        told = f"the shards changed ({was['tars']} tars then, {now['tars']} now)"
        return [] if was["sha256"] == now["sha256"] else [told]
    if stage != "plan":
        return dataset.differences(was, now)
    if was["plan_sha256"] == now["plan_sha256"]:
        return []  # the corpus may have moved, and other sizes may come to the same units
    options = ("num_shards", "shard_size_mb", "val_fraction")
    changed = dataset.differences({name: was[name] for name in options}, {name: now[name] for name in options})
    return changed or [f"the recordings of --input changed ({was['sources']} then, {now['sources']} now)"]


def _ranges(numbers: list[int]) -> str:
    """Numbers as runs: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
