"""What came in, what came out, what did not and why: counted from the files, so right after a resume too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lanser_ops import dataset, stages, storage
from lanser_ops.plan import Unit
from lanser_ops.transcribe import STAGE


@dataclass(frozen=True)
class UnitCounts:
    """One unit's part of the accounts. ``labels`` counts the samples in its shard."""

    unit: int
    split: str
    sources: int
    utterances: int
    transcripts: int
    samples: int
    audio_s: float
    sample_s: float
    rejects: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, int], ...]


def count_unit(output: str, unit: Unit, taxonomy: str | None) -> UnitCounts:
    """Read the unit's Parquet files. Without a taxonomy, what is transcribed is counted, no samples."""
    transcripts = storage.read_table(
        storage.join(output, dataset.transcripts_file(unit)), ["key", "duration_s"]
    )
    durations = dict(
        zip(transcripts.column("key").to_pylist(), transcripts.column("duration_s").to_pylist(), strict=True)
    )
    rejects = storage.read_table(storage.join(output, dataset.rejects_file(unit)))
    reasons: Counter[str] = Counter()
    utterances, audio_s = len(durations), sum(durations.values())
    left_out = set()
    for reject in rejects.to_pylist():
        if reject["stage"] == STAGE:
            reasons[reject["reason"]] += 1
            utterances += 1
            if reject["start_s"] is not None and reject["end_s"] is not None:
                audio_s += reject["end_s"] - reject["start_s"]
        elif taxonomy is not None and reject["stage"] == stages.shard_stage(taxonomy):
            reasons[reject["reason"]] += 1
            left_out.add(reject["key"])
    labels: Counter[str] = Counter()
    sample_s = 0.0
    if taxonomy is not None:
        for label in stages.read_labels(output, unit, taxonomy):
            if label.key not in left_out:
                labels[label.label] += 1
                sample_s += durations[label.key]
    return UnitCounts(
        unit.index,
        unit.split,
        unit.sources,
        utterances,
        len(durations),
        sum(labels.values()),
        audio_s,
        sample_s,
        tuple(sorted(reasons.items())),
        tuple(sorted(labels.items())),
    )


def total(counts: Iterable[UnitCounts], seconds: Iterable[tuple[str, float]]) -> dict:
    """The accounts of a whole run, as dataset.json holds them. Order of the arguments does not matter."""
    counts = sorted(counts, key=lambda one: one.unit)
    rejects: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    for one in counts:
        rejects.update(dict(one.rejects))
        labels.update(dict(one.labels))
        splits[one.split] += one.samples
    spent: Counter[str] = Counter()
    for stage, duration in seconds:
        spent[stage] += duration
    return {
        "sources": sum(one.sources for one in counts),
        "utterances": sum(one.utterances for one in counts),
        "transcripts": sum(one.transcripts for one in counts),
        "samples": sum(one.samples for one in counts),
        "splits": dict(sorted(splits.items())),
        "rejects": dict(sorted(rejects.items())),
        "labels": dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        "hours": {
            "audio": round(sum(one.audio_s for one in counts) / 3600, 4),
            "samples": round(sum(one.sample_s for one in counts) / 3600, 4),
        },
        "seconds": {stage: round(duration, 1) for stage, duration in sorted(spent.items())},
    }
