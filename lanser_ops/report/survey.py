"""What a page shows of the shards of one taxonomy, read from a bounded number of them.

Counts of the whole corpus are in dataset.json. Distributions and examples come from at most MAX_UNITS units, whose JSON
is read once and of whose audio only the places are noted. Units are runs of recordings in the order of a hash, so some
of them are a random sample of the recordings.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.common.selection import words_hash
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.relabel import SHARD_NAME
from lanser_ops.speech_labelling.classes import voice_label
from lanser_ops.tar import BrokenTar, read_content, read_members
from schemas.specs import MAX_JSON_BYTES

MAX_UNITS = 64
# In a store, where shards are fetched whole, to read what lies between the audio.
MAX_REMOTE_UNITS = 8
Item = TypeVar("Item")
# Examples of each label and kind. Their number over all labels is bounded by MAX_EXAMPLES.
PER_LABEL = 12
MAX_EXAMPLES = 240
MAX_DISAGREEMENTS = 24


@dataclass(frozen=True)
class Sample:
    """A sample of a shard, and where its audio is: ``flac`` is (tar, offset, bytes), None in a sidecar.

    ``picks`` are the labels that each template alone would give, empty with one template; ``voice`` is what the speech
    model favours, None where there is none.
    """

    key: str
    source: str
    text: str
    label: str
    score: float
    margin: float
    duration_s: float
    language: str | None
    speaker: str | None
    flags: tuple[str, ...]
    scores: dict[str, float]
    picks: tuple[str, ...]
    voice: tuple[str, float] | None
    flac: tuple[str, int, int] | None


@dataclass
class Survey:
    """Distributions and examples. ``examples`` has samples by kind, each kind in its own order."""

    taxonomy: str
    labels: tuple[str, ...]
    units: int
    of_units: int
    scores: dict[str, list[float]] = field(default_factory=dict)
    margins: dict[str, list[float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    words: Counter[int] = field(default_factory=Counter)
    label_of: dict[str, str] = field(default_factory=dict)
    examples: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return len(self.durations)

    @property
    def repeats(self) -> int:
        """How many samples have the words of an earlier one."""
        return self.samples - len(self.words)


MOST_CERTAIN, LEAST_CERTAIN = "most certain", "least certain"
TEMPLATES_DISAGREE, VOICE_DISAGREES = "templates disagree", "text and voice disagree"
KINDS = (MOST_CERTAIN, LEAST_CERTAIN, TEMPLATES_DISAGREE, VOICE_DISAGREES)


def survey(out: OutputDir, taxonomy: str, labels: Sequence[str]) -> Survey:
    """Read the JSON of up to `unit_limit` shards; ``labels`` are those that have samples, the most frequent first.

    Raises InputError for a tar that is not a shard of lanser.
    """
    names = [name for name in sorted(out.names(out.shards(taxonomy))) if SHARD_NAME.fullmatch(name.rsplit("/", 1)[1])]
    chosen = spread(names, unit_limit(out))
    result = Survey(taxonomy, tuple(labels), len(chosen), len(names))
    best: dict[tuple[str, str], list[Sample]] = {}
    shown = labels[: MAX_EXAMPLES // 2]
    number = min(PER_LABEL, MAX_EXAMPLES // (2 * max(1, len(shown))))
    for name in chosen:
        samples = list(_read(out.path(name)))
        for sample in samples:
            result.scores.setdefault(sample.label, []).append(sample.score)
            result.margins.setdefault(sample.label, []).append(sample.margin)
            result.durations.append(sample.duration_s)
            # Nothing is known of the words of a redacted sample: it repeats none.
            result.words[words_hash(sample.text or sample.key)] += 1
            result.label_of[sample.key] = sample.label
        for kind, label, rank, limit in _kinds(shown, number):
            members = [sample for sample in samples if _belongs(sample, kind, label)]
            best[kind, label] = heapq.nsmallest(limit, best.get((kind, label), []) + members, key=rank)
    for (kind, _), members in best.items():
        result.examples.setdefault(kind, []).extend(members)
    return result


def unit_limit(out: OutputDir) -> int:
    """How many units are read."""
    return MAX_REMOTE_UNITS if storage.is_remote(out.root) else MAX_UNITS


def spread(names: Sequence[Item], limit: int) -> list[Item]:
    """At most ``limit`` of ``names`` at even distances, with the first and the last.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    if len(names) <= limit:
        return list(names)
    return [names[round(position * (len(names) - 1) / (limit - 1))] for position in range(limit)]


def _kinds(labels: Sequence[str], number: int) -> Iterator[tuple[str, str, Callable[[Sample], tuple[float, str]], int]]:
    """(kind, label, rank, limit) of everything that examples are collected for; an empty label means any."""
    for label in labels:
        yield MOST_CERTAIN, label, lambda sample: (-sample.margin, sample.key), number
        yield LEAST_CERTAIN, label, lambda sample: (sample.margin, sample.key), number
    yield TEMPLATES_DISAGREE, "", lambda sample: (-sample.score, sample.key), MAX_DISAGREEMENTS
    yield VOICE_DISAGREES, "", lambda sample: (-(sample.voice or ("", 0.0))[1], sample.key), MAX_DISAGREEMENTS


def _belongs(sample: Sample, kind: str, label: str) -> bool:
    if kind == TEMPLATES_DISAGREE:
        return len(set(sample.picks)) > 1
    if kind == VOICE_DISAGREES:
        return sample.voice is not None and sample.voice[0] != sample.label
    return sample.label == label


def _read(path: str) -> Iterator[Sample]:
    flac: dict[str, tuple[str, int, int]] = {}
    try:
        with storage.open_read(path) as stream:
            for member in read_members(stream):
                key, _, extension = member.name.partition(".")
                if extension == "flac":
                    flac[key] = (path, member.offset, member.size)
                elif extension == "json":
                    yield _sample(orjson.loads(read_content(stream, member, MAX_JSON_BYTES)), flac.get(key))
    except (BrokenTar, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not a shard of lanser ({type(error).__name__}: {error}); remove it") from None


def _sample(fields: dict[str, Any], flac: tuple[str, int, int] | None) -> Sample:
    labels = fields["labels"]
    scores = fields.get("speech_scores")
    return Sample(
        key=fields["key"],
        source=fields["source"],
        text=fields["text"] or "",  # null where it was written with --redact
        label=fields["label"],
        score=fields["score"],
        margin=fields["margin"],
        duration_s=fields["duration_s"],
        language=fields["language"],
        speaker=fields["speaker"],
        flags=tuple(fields["flags"]),
        scores=dict(zip(labels, fields["entailment"], strict=True)),
        picks=tuple(labels[index] for index in fields.get("template_labels", ())),
        voice=voice_label(fields["speech_labels"], scores, tuple(labels)) if scores else None,
        flac=flac,
    )
