"""What a run finds in its output directory: options that differ, units that are done, scores that can be used."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lanser_ops import dataset, storage, weak_labels
from lanser_ops.dataset import LabelSpec
from lanser_ops.errors import InputError
from lanser_ops.plan import Unit
from lanser_ops.stages import ScoreSet

SENTENCES_FILE = "sentences.json"
# A stage that changes takes those after it along.
ORDER = ("plan", "transcribe", "label", "shard")


@dataclass(frozen=True)
class Sections:
    """The options of the stages that a command runs, by stage, as dataset.json holds them."""

    taxonomy: str | None
    by_stage: dict[str, dict[str, Any]]


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
    if stage in ("plan", "transcribe"):
        return before.get(stage)
    return before.get("taxonomies", {}).get(taxonomy, {}).get(stage)


def check(output: str, before: dict[str, Any], now: Sections, overwrite: bool) -> dict[str, Any]:
    """Compare options with those that made the files; returns what of dataset.json still holds.

    Raises InputError that names what differs, unless ``overwrite``: then the files of the first stage that
    differs, and of those after it, are removed (of all stages of the command where none differs).
    """
    told: list[str] = []
    first = None
    for stage in now.by_stage:
        was = stored(before, stage, now.taxonomy)
        if was is not None and (found := _differences(stage, was, now.by_stage[stage])):
            first = first or stage
            told.extend(found)
    if told and not overwrite:
        raise InputError(
            f"--output {output} was made with other options: {'; '.join(told)}. "
            "Give --overwrite to build again what that touches, or another --output"
        )
    if not overwrite:
        return before
    first = first or next(iter(now.by_stage))
    stages = set(ORDER[ORDER.index(first) :])
    whole = first in ("plan", "transcribe")
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
        if stage in ("plan", "transcribe"):
            content[stage] = section
        else:
            taxonomies[now.taxonomy] = {**taxonomies.get(now.taxonomy, {}), stage: section}
    return {**content, "taxonomies": taxonomies}


def score_sets(output: str, spec: LabelSpec) -> tuple[ScoreSet, ...]:
    """The stored sets that hold hypotheses of ``spec``, and a new one for those that none holds."""
    needed = {sentence for row in weak_labels.sentences(spec.taxonomy, spec.templates) for sentence in row}
    sets = []
    for path in sorted(storage.list_files(storage.join(output, dataset.SCORES))):
        if posixpath.basename(path) != SENTENCES_FILE:
            continue
        content = json.loads(storage.read_bytes(path))
        useful = needed.intersection(content["hypotheses"])
        if content["nli_sha256"] == spec.nli_model.sha256 and useful:
            sets.append(ScoreSet(posixpath.basename(posixpath.dirname(path)), tuple(content["hypotheses"])))
            needed -= useful
    if needed:
        hypotheses = sorted(needed)
        text = json.dumps(
            {"nli_sha256": spec.nli_model.sha256, "hypotheses": hypotheses}, ensure_ascii=False, indent=1
        ).encode()
        name = hashlib.sha256(text).hexdigest()[:16]
        storage.write_bytes(output, f"{dataset.SCORES}/{name}/{SENTENCES_FILE}", text)
        sets.append(ScoreSet(name, tuple(hypotheses)))
    return tuple(sets)


def finished(
    output: str, units: Sequence[Unit], stages: Sequence[str], taxonomy: str | None, sets: Sequence[ScoreSet]
) -> Done:
    """Which units have the files of ``stages`` (``transcribe``, ``score``, ``label``, ``shard``)."""
    there = {path[len(output) + 1 :] for path in storage.list_files(output)}
    files = {
        "transcribe": lambda unit: [dataset.transcripts_file(unit)],
        "score": lambda unit: [one.file(unit) for one in sets],
        "label": lambda unit: [dataset.labels_file(taxonomy, unit)],
        "shard": lambda unit: [dataset.shard_file(taxonomy, unit)],
    }
    return Done(
        len(units),
        {
            stage: frozenset(unit.index for unit in units if there.issuperset(files[stage](unit)))
            for stage in stages
        },
    )


def _differences(stage: str, was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if stage != "plan":
        return dataset.differences(was, now)
    if was["plan_sha256"] == now["plan_sha256"]:
        return []  # the corpus may have moved, and other sizes may come to the same units
    options = ("num_shards", "shard_size_mb", "val_fraction")
    changed = dataset.differences(
        {name: was[name] for name in options}, {name: now[name] for name in options}
    )
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
