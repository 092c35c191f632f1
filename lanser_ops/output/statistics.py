"""What went in, what came out, what did not and why: counted from the files, so correct after a resume too."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lanser_ops.output.directory import OutputDir
from lanser_ops.output.rejects import is_shard_stage, seconds_of, shard_stage
from schemas.records import WeakLabel
from schemas.units import Unit

# The language of a transcript that came with the input and says none.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Agreement:
    """How often templates agree, over the ``labelled`` utterances of a unit or a run.

    ``with_label`` counts, for every template, where it alone picks the label that was given; ``pairwise``
    counts the pairs of templates that pick the same one.
    """

    labelled: int
    with_label: tuple[int, ...]
    pairwise: int


@dataclass(frozen=True)
class UnitCounts:
    """One unit's part of the statistics.

    ``sources`` counts the recordings that its transcripts and rejects come from. ``labels`` counts the labels of the
    samples in its shard, or of all its labelled utterances before there is one; ``label_s`` has their seconds and
    ``languages`` their languages.
    """

    unit: int
    split: str
    sources: int
    utterances: int
    transcripts: int
    labelled: int
    samples: int
    audio_s: float
    sample_s: float
    rejects: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, int], ...]
    label_s: tuple[tuple[str, float], ...]
    languages: tuple[tuple[str, int], ...]
    agreement: Agreement


def count_unit(out: OutputDir, unit: Unit, taxonomy: str | None, sharded: bool) -> UnitCounts:
    """Read the unit's Parquet files.

    Without a taxonomy only what is transcribed is counted; samples are counted if the taxonomy is ``sharded``, that is
    if its labels have been made into shards.
    """
    transcripts = out.read_table(out.transcripts(unit), ["key", "source", "duration_s", "language"]).to_pylist()
    durations = {row["key"]: row["duration_s"] for row in transcripts}
    language_of = {row["key"]: row["language"] for row in transcripts}
    sources = {row["source"] for row in transcripts}
    rejects = out.read_table(out.rejects(unit))
    reasons: Counter[str] = Counter()
    utterances, audio_s = len(durations), float(sum(durations.values()))
    left_out = set()
    for reject in rejects.to_pylist():
        if not is_shard_stage(reject["stage"]):
            reasons[reject["reason"]] += 1
            utterances += 1
            if reject["stage"] != "unpack":  # a sample that cannot be read names its shard
                sources.add(reject["source"])
            audio_s += seconds_of(reject["reason"], reject["start_s"], reject["end_s"])
        elif taxonomy is not None and reject["stage"] == shard_stage(taxonomy):
            reasons[reject["reason"]] += 1
            left_out.add(reject["key"])
    labels: Counter[str] = Counter()
    label_s: defaultdict[str, float] = defaultdict(float)
    languages: Counter[str] = Counter()
    labelled = [] if taxonomy is None else out.read_labels(taxonomy, unit)
    for label in labelled:
        if label.key not in left_out:
            labels[label.label] += 1
            label_s[label.label] += durations[label.key]
            languages[language_of[label.key] or UNKNOWN] += 1
    return UnitCounts(
        unit.index,
        unit.split,
        len(sources),
        utterances,
        len(durations),
        len(labelled),
        sum(labels.values()) if sharded else 0,
        audio_s,
        math.fsum(label_s.values()) if sharded else 0.0,
        tuple(sorted(reasons.items())),
        tuple(sorted(labels.items())),
        tuple(sorted(label_s.items())),
        tuple(sorted(languages.items())),
        _agreement(labelled),
    )


def _agreement(labels: list[WeakLabel]) -> Agreement:
    picks = [(label.label_index, label.template_labels) for label in labels]
    templates = len(picks[0][1]) if picks else 0
    return Agreement(
        len(picks),
        tuple(sum(alone[template] == given for given, alone in picks) for template in range(templates)),
        sum(first == second for _, alone in picks for first, second in combinations(alone, 2)),
    )


def total(
    counts: Iterable[UnitCounts],
    seconds: Iterable[tuple[str, float]],
    pairs_scored: Iterable[int],
    templates: Sequence[str],
    hypotheses: int,
) -> dict[str, Any]:
    """The statistics of a whole run, as dataset.json holds them. Order of the arguments does not matter.

    ``seconds`` and ``pairs_scored`` are those of this run; everything else is that of the files. ``hypotheses`` is how
    many a labelled utterance was scored for.
    """
    counts = sorted(counts, key=lambda unit: unit.unit)
    rejects: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    label_s: dict[str, list[float]] = {}
    for unit in counts:
        rejects.update(dict(unit.rejects))
        labels.update(dict(unit.labels))
        languages.update(dict(unit.languages))
        for label, duration in unit.label_s:
            label_s.setdefault(label, []).append(duration)
        splits[unit.split] += unit.samples
    spent: dict[str, float] = {}
    for stage, duration in seconds:
        spent[stage] = spent.get(stage, 0.0) + duration
    statistics: dict[str, Any] = {
        "sources": sum(unit.sources for unit in counts),
        "utterances": sum(unit.utterances for unit in counts),
        "transcripts": sum(unit.transcripts for unit in counts),
        "labelled": sum(unit.labelled for unit in counts),
        "samples": sum(unit.samples for unit in counts),
        "splits": dict(sorted(splits.items())),
        "rejects": dict(sorted(rejects.items())),
        "labels": _by_count(labels),
        "label_hours": {label: round(math.fsum(label_s[label]) / 3600, 4) for label in _by_count(labels)},
        "languages": _by_count(languages),
        "hours": {
            "audio": round(sum(unit.audio_s for unit in counts) / 3600, 4),
            "samples": round(sum(unit.sample_s for unit in counts) / 3600, 4),
        },
        "audio_seconds": round(math.fsum(unit.audio_s for unit in counts), 3),
        "pairs": hypotheses * sum(unit.labelled for unit in counts),
        "pairs_scored": sum(pairs_scored),
        "seconds": {stage: round(duration, 1) for stage, duration in sorted(spent.items())},
    }
    if len(templates) > 1:
        statistics["template_agreement"] = _shares([unit.agreement for unit in counts], templates)
    return statistics


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _shares(parts: list[Agreement], templates: Sequence[str]) -> dict[str, Any]:
    """Share of utterances on which each template alone picks the label, and of pairs of picks that are equal."""
    parts = [part for part in parts if part.labelled]
    labelled = max(1, sum(part.labelled for part in parts))
    pairs = labelled * math.comb(len(templates), 2)
    alone = zip(*(part.with_label for part in parts), strict=True)
    return {
        "with_label": dict(zip(templates, (round(sum(counts) / labelled, 4) for counts in alone), strict=False)),
        "pairwise": round(sum(part.pairwise for part in parts) / pairs, 4),
    }
