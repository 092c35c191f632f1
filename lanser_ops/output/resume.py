"""What a run finds in its output directory: options that differ, units that are done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lanser_ops.common.errors import InputError
from lanser_ops.output import dataset
from lanser_ops.output.directory import CARD, DATASET, NULL, PLAN, REPORT, ROOTS, SENTENCES, OutputDir
from schemas.specs import ScoreSet, SpeechSpec
from schemas.units import Unit

# A stage that changes invalidates those after it. The first three concern all taxonomies; a directory has the first
# two, or the third if its transcripts come from shards.
ORDER = ("plan", "transcribe", "unpack", "label", "shard")
SHARED_STAGES = ORDER[:3]


@dataclass(frozen=True)
class Sections:
    """The options of the stages that concern a command, by stage, as dataset.json holds them.

    ``written`` are the stages that the command runs; the others it only reads.
    """

    taxonomy: str | None
    by_stage: dict[str, dict[str, Any]]
    written: frozenset[str]


@dataclass(frozen=True)
class Done:
    """Indices of the units that each stage of this run has already finished."""

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


def stored(content: dict[str, Any], stage: str, taxonomy: str | None) -> dict[str, Any] | None:
    """The section of ``stage`` in dataset.json, None if that stage has not run."""
    if stage in SHARED_STAGES:
        return content.get(stage)
    return content.get("taxonomies", {}).get(taxonomy, {}).get(stage)


@dataclass(frozen=True)
class Start:
    """What a run starts from: what of dataset.json still holds, and the files that --overwrite removes before."""

    content: dict[str, Any]
    removed: list[str]


def check(out: OutputDir, before: dict[str, Any], now: Sections, overwrite: bool) -> Start:
    """Compare options with those that the files were made with; nothing is removed yet.

    Raises InputError that names what differs, unless ``overwrite``: then the files of the first stage that
    differs, and of those after it, are to be removed (of all stages that the command runs if none differs).
    What the command only reads, it never removes.
    """
    if not before and not overwrite and (files := written_names(out, None, {"transcribe", "label", "shard"})):
        raise InputError(
            f"--output {out.root}: has no {DATASET}, which holds the options of the files there, such as {files[0]}; "
            f"restore it, or give --overwrite to remove what lanser wrote there, or another --output"
        )
    changes: list[str] = []
    first = None
    for stage in now.by_stage:
        section = stored(before, stage, now.taxonomy)
        changed = _differences(stage, section, now.by_stage[stage]) if section is not None else []
        if not changed:
            continue
        if stage not in now.written:
            raise InputError(
                f"--output {out.root}: its {stage}s were made with other options: {'; '.join(changed)}. "
                f"Give the options of lanser {stage}, or run that again first"
            )
        first = first or stage
        changes.extend(changed)
    if changes and not overwrite:
        raise InputError(
            f"--output {out.root} was made with other options: {'; '.join(changes)}. "
            "Give --overwrite to rebuild what that affects, or another --output"
        )
    if not overwrite:
        return Start(before, [])
    first = first or next(stage for stage in now.by_stage if stage in now.written)
    stages = set(ORDER[ORDER.index(first) :])
    shared = first in SHARED_STAGES
    removed = written_names(out, None if shared else now.taxonomy, stages)
    remaining = {key: value for key, value in before.items() if key in ORDER and key not in stages}
    taxonomies = {} if shared else dict(before.get("taxonomies", {}))
    if not shared and now.taxonomy in taxonomies:
        taxonomies[now.taxonomy] = {
            stage: section
            for stage, section in taxonomies[now.taxonomy].items()
            if stage in ORDER and stage not in stages
        }
    return Start({**remaining, "taxonomies": taxonomies}, removed)


def merge(before: dict[str, Any], now: Sections) -> dict[str, Any]:
    """dataset.json's content before the work: options of this run beside those of earlier ones."""
    content = dict(before)
    taxonomies = dict(before.get("taxonomies", {}))
    for stage, section in now.by_stage.items():
        if stage in SHARED_STAGES:
            content[stage] = section
        else:
            taxonomies[now.taxonomy] = {**taxonomies.get(now.taxonomy, {}), stage: section}
    return {**content, "taxonomies": taxonomies}


def finished(
    out: OutputDir,
    existing: Collection[str],
    units: Sequence[Unit],
    stages: Sequence[str],
    taxonomy: str | None,
    sets: Sequence[ScoreSet],
    speech: SpeechSpec | None,
) -> Done:
    """Which units have the files of ``stages``, names of `JobSpec.stages`, among the ``existing`` files of ``out``."""

    def is_done(stage: str, unit: Unit) -> bool:
        if stage == "score":
            return all(out.scores(score_set, unit) in existing for score_set in sets)
        if stage == "speech":
            return speech is not None and out.speech_scores(speech.model, unit) in existing
        return out.marker(stage, unit, taxonomy) in existing

    return Done(
        len(units), {stage: frozenset(unit.index for unit in units if is_done(stage, unit)) for stage in stages}
    )


def written_names(out: OutputDir, taxonomy: str | None, stages: set[str]) -> list[str]:
    """Every file in ``out`` that the given stages write, and nothing else that lies there.

    ``stages`` holds ``plan``, ``transcribe``, ``unpack``, ``label`` or ``shard``; the last two concern ``taxonomy``, or
    all taxonomies if it is None (their transcripts are going to change).
    """
    inside = "" if taxonomy is None else f"{taxonomy}/"
    documents = [DATASET, CARD, REPORT]
    transcripts = ["transcripts/part-", "rejects/part-", "scores/", "speech/"]
    prefixes = {
        "plan": [PLAN, ROOTS, *documents],
        "transcribe": transcripts,
        "unpack": [*documents, *transcripts],
        "label": [f"labels/{inside}"],
        "shard": [f"shards/{inside}"],
    }
    written = tuple(prefix for stage in stages for prefix in prefixes[stage])
    return [name for name in out.names() if name.startswith(written) and _is_ours(name)]


def _is_ours(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return name in (PLAN, ROOTS, DATASET, CARD, REPORT) or (
        (base.startswith(("part-", "train-", "val-")) and base.endswith((".parquet", ".tar")))
        or base in (SENTENCES, NULL)
    )


def _differences(stage: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if stage == "unpack":
        change = f"the shards changed ({before['tars']} tars then, {now['tars']} now)"
        return [] if before["sha256"] == now["sha256"] else [change]
    if stage != "plan":
        return dataset.differences(before, now)
    if before["plan_sha256"] == now["plan_sha256"]:
        return []  # the corpus may have moved, and other sizes may give the same units
    options = ("num_shards", "shard_size_mb", "val_fraction")
    changed = dataset.differences({name: before[name] for name in options}, {name: now[name] for name in options})
    return changed or [f"the recordings of --input changed ({before['sources']} then, {now['sources']} now)"]


def _ranges(numbers: list[int]) -> str:
    """Numbers as runs: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
