"""Samples read back from shards. Nothing in them is trusted: other programs may have written or changed them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa

from lanser_ops import tar
from lanser_ops.common.errors import legible
from lanser_ops.labelling import weak_labels
from lanser_ops.shards.write import FLAC_MAGIC
from lanser_ops.tar import BrokenTar, Member
from schemas.records import SPEECH_SCHEMA, TRANSCRIPT_SCHEMA, Transcript, utterance_key
from schemas.specs import MAX_CONTEXT, MAX_JSON_BYTES, ScoringKey

KEY = re.compile(r"[0-9a-f]{16}")
EXTENSIONS = ("cls", "flac", "json")
REDACTED = "was written with --redact and holds no transcripts, which a label needs"


@dataclass(frozen=True, kw_only=True)
class ShardSample(Transcript):
    """A transcript as a shard holds it, and where in the tar its FLAC is.

    ``asr_model`` is None where the transcript came with the input. ``flags`` are those of the transcript alone.
    ``context_texts`` are the previous utterances, the oldest first; None where the shard was labelled without context.
    The fields of a speech model are None where the audio was not scored.
    """

    asr_model: str | None
    flac_offset: int
    flac_bytes: int
    context_texts: Sequence[str] | None = None
    speech_model: str | None = None
    speech_labels: Sequence[str] | None = None
    speech_scores: Sequence[float] | None = None


_OF_SAMPLE = pa.schema(
    [
        ("asr_model", pa.string()),
        ("flac_offset", pa.int64()),
        ("flac_bytes", pa.int64()),
        ("context_texts", pa.list_(pa.string())),
    ]
)
SAMPLE_SCHEMA = pa.schema([*TRANSCRIPT_SCHEMA, *_OF_SAMPLE, *SPEECH_SCHEMA])


@dataclass(frozen=True)
class StoredScores:
    """P(entailment) that a sample holds: under which key, for which sentences (templates, hypotheses).

    ``entailment`` is float32 (templates, hypotheses), None where the sample holds only means over templates or scores
    of labels with several hypotheses, or where its transcript was truncated for a sentence.
    """

    scoring_key: ScoringKey
    sentences: tuple[tuple[str, ...], ...]
    entailment: np.ndarray | None


@dataclass(frozen=True)
class Fault:
    """Why a sample, or the rest of a tar, cannot be read; ``reason`` is a key of `REASONS`."""

    member: str
    reason: str
    detail: str


class _BadSample(Exception):
    """A sample that lanser did not write; its arguments are the member and what is wrong with it."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_turn(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_context(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_CONTEXT


def _is_words(value: Any) -> bool:
    """A list of hypotheses per label, or one hypothesis per label, as in shards of schema version 1."""
    return _is_texts(value) or (isinstance(value, list) and all(map(_is_texts, value)))


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("key", "source", "text", "nli_sha256", "against"), _is_text),
    **dict.fromkeys(("speaker", "language", "asr_model"), _is_text_or_null),
    **dict.fromkeys(("start_s", "end_s", "duration_s"), _is_number),
    **dict.fromkeys(("avg_logprob", "no_speech_prob", "compression_ratio"), _is_number_or_null),
    **dict.fromkeys(("flags", "templates"), _is_texts),
    "hypotheses": _is_words,
}
# Fields of samples in a dialogue, and of samples that were labelled with context.
_OPTIONAL_FIELDS: dict[str, Callable[[Any], bool]] = {
    "dialogue": _is_text,
    "turn": _is_turn,
    "context": _is_context,
    "context_texts": _is_texts,
}


def read_samples(stream: BinaryIO) -> Iterator[tuple[ShardSample, StoredScores] | Fault]:
    """The samples of a shard in the order of the tar, and a fault for each that is not one of lanser's."""
    seen: set[str] = set()
    try:
        for key, group in groupby(tar.read_members(stream), key=lambda member: member.name.partition(".")[0]):
            members = list(group)
            try:
                sample = _read_sample(stream, key, members)
                if key in seen:
                    raise _BadSample(members[0].name, "its key is in the shard twice")
                seen.add(key)
                yield sample
            except _BadSample as bad:
                yield Fault(legible(bad.args[0]), "bad_sample", bad.args[1])
    except BrokenTar as broken:
        yield Fault("", "broken_tar", str(broken))


def _read_sample(stream: BinaryIO, key: str, members: list[Member]) -> tuple[ShardSample, StoredScores]:
    by_extension = {member.name.partition(".")[2]: member for member in members}
    for name, extension in ((member.name, member.name.partition(".")[2]) for member in members):
        if not KEY.fullmatch(key) or extension not in EXTENSIONS:
            raise _BadSample(name, "its name is not a key of 16 hex digits and .cls, .flac or .json")
    if len(by_extension) < len(members):
        raise _BadSample(members[0].name, "the sample has it twice")
    for extension in EXTENSIONS:
        if extension not in by_extension:
            raise _BadSample(members[0].name, f"there is no {key}.{extension} beside it")
    flac = by_extension["flac"]
    if tar.read_content(stream, flac, len(FLAC_MAGIC)) != FLAC_MAGIC:
        raise _BadSample(flac.name, "is not FLAC")
    fields = _fields(stream, by_extension["json"], key)
    flags = [flag for flag in fields["flags"] if flag != weak_labels.TRUNCATED]
    sample = ShardSample(
        **{name: fields[name] for name in TRANSCRIPT_SCHEMA.names if name in fields and name != "flags"},
        flags=flags,
        asr_model=fields["asr_model"],
        flac_offset=flac.offset,
        flac_bytes=flac.size,
        context_texts=fields.get("context_texts"),
        **_speech(fields, by_extension["json"].name),
    )
    by_label = [[words] if isinstance(words, str) else words for words in fields["hypotheses"]]
    sentences = weak_labels.filled(list(chain(*by_label)), fields["templates"])
    is_whole = len(flags) == len(fields["flags"])
    stored = _entailment(fields, by_label, by_extension["json"].name) if is_whole else None
    scoring_key = ScoringKey(fields["nli_sha256"], fields["against"], fields.get("context", 0))
    return sample, StoredScores(scoring_key, tuple(map(tuple, sentences)), stored)


def _fields(stream: BinaryIO, member: Member, key: str) -> dict[str, Any]:
    """The JSON of a sample, if it has every field that lanser writes, with a value of its type."""
    if member.size > MAX_JSON_BYTES:
        raise _BadSample(member.name, f"is larger than {MAX_JSON_BYTES >> 20} MB")
    try:
        fields = orjson.loads(tar.read_content(stream, member))
    except orjson.JSONDecodeError as error:
        raise _BadSample(member.name, f"is not JSON ({error})") from None
    if isinstance(fields, dict) and fields.get("text", "") is None:
        raise _BadSample(member.name, REDACTED)
    for name in _FIELDS:
        if not isinstance(fields, dict) or name not in fields:
            raise _BadSample(member.name, f"has no {name!r}")
    for name, fits in (_FIELDS | _OPTIONAL_FIELDS).items():
        if name in fields and not fits(fields[name]):
            raise _BadSample(member.name, f"its {name!r} is {str(fields[name])[:60]!r}")
    if ("context" in fields) != ("context_texts" in fields):
        raise _BadSample(member.name, "has one of 'context' and 'context_texts' without the other")
    if len(fields.get("context_texts", ())) > fields.get("context", 0):
        raise _BadSample(member.name, f"has more 'context_texts' than its 'context', which is {fields['context']}")
    if not fields["key"] == key == utterance_key(fields["source"], fields["start_s"], fields["end_s"]):
        raise _BadSample(member.name, "its key is not that of its source, start and end")
    return fields


def _speech(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of SPEECH_SCHEMA; empty where the audio was not scored."""
    speech = {column: fields.get(column) for column in SPEECH_SCHEMA.names}
    if all(value is None for value in speech.values()):
        return {}
    model, labels, scores = speech.values()
    are_scores = isinstance(scores, list) and all(_is_number(score) and 0 <= score <= 1 for score in scores)
    if not (_is_text(model) and _is_texts(labels) and are_scores and 0 < len(labels or ()) == len(scores or ())):
        raise _BadSample(name, "has no speech_model, or no score from 0 to 1 for each of its speech_labels")
    return speech


def _entailment(fields: dict[str, Any], by_label: list[list[str]], name: str) -> np.ndarray | None:
    """The scores of all hypotheses, which ``by_label`` has for every label; None if they are not in ``fields``."""
    templates, hypotheses = len(fields["templates"]), sum(map(len, by_label))
    if any(len(words) != 1 for words in by_label):
        rows = fields.get("hypothesis_scores")
    elif templates == 1:
        rows = [fields.get("entailment")]
    else:
        rows = fields.get("template_entailment")
    if rows is None:
        return None
    try:
        scores = np.array(rows, dtype=np.float32)
        if scores.shape != (templates, hypotheses) or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError
    except (TypeError, ValueError):
        raise _BadSample(name, f"has no score from 0 to 1 for each of its {hypotheses} hypotheses") from None
    return scores
