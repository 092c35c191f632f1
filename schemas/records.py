"""The rows of the Parquet files, each a dataclass with its pyarrow schema beside it.

Columns are named only here: writers take the dataclasses, readers the names of their fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
SCHEMA_VERSION = 2
# Columns that a table has only where one of its rows has a value.
OPTIONAL_COLUMNS = ("dialogue", "turn", "context_texts")

# Why an utterance is not in the shards: the values in Parquet files, and texts for people.
REASONS = {
    "not_audio": "the content is not audio that a decoder knows",
    "no_audio_track": "a container without an audio track",
    "truncated": "the file ends before its header says it should",
    "not_finite": "samples that are NaN or infinite",
    "decode_error": "the decoder gave up in the middle",
    "too_large": "more audio than a recording may have, or too much memory to decode it",
    "timeout": "the decoder was stopped because it made no progress",
    "decoder_died": "the decoder crashed on the file",
    "broken_tar": "what comes after the tar's last whole member is lost",
    "bad_sample": "a sample of a shard that lanser did not write",
    "gave_up": "in a unit that was set aside because a worker died on it at every attempt",
    "missing": "the file is not there or cannot be read",
    "bad_range": "start_s and end_s do not lie in the recording",
    "too_long": "a row with a transcript is longer than one utterance may be",
    "too_short": "shorter than --min-duration",
    "duplicate": "the same stretch of the same source is listed twice",
    "no_speech": "no samples, silence, noise or music",
    "no_text": "a transcript without letters",
    "language": "another language than --language",
    "repetition": "flagged: the transcript repeats itself",
    "low_logprob": "flagged: the recogniser was unsure of most words",
    "subtitle_phrase": "flagged: a phrase that recognisers invent on non-speech",
    "transcript_truncated": "flagged: the recogniser reached its token limit before the end of the utterance",
    "premise_truncated": "flagged: the transcript is longer than the labeller reads",
    "no_label": "the file of --labels-from has no label for it",
    "low_score": "the best label's score is under --min-score",
    "low_margin": "the best label's lead is under --min-margin",
    "disagreement": "the text and the voice favour different labels, and --agree was given",
    "not_selected": "outside the selection by --max-repeats, --keep-top, --per-label or --balance",
}


@dataclass(frozen=True)
class SourceRow:
    """One row of the plan: a file, a range of a file, or a member of a tar.

    ``root`` indexes the dataset's list of input roots and ``path`` is relative to it; ``source`` is the name of the
    row in every output. ``offset`` and ``bytes`` delimit a tar member; times are seconds. ``turn`` orders the rows of a
    ``dialogue``.
    """

    unit: int
    root: int
    path: str
    source: str
    offset: int | None
    bytes: int
    start_s: float | None
    end_s: float | None
    speaker: str | None
    language: str | None
    text: str | None
    dialogue: str | None = None
    turn: int | None = None


@dataclass(frozen=True)
class Transcript:
    """One utterance with its text. Times are seconds from the start of ``source``.

    ``avg_logprob``, ``no_speech_prob`` and ``compression_ratio`` are Whisper's (Radford et al. 2022,
    section 4.5); they are null where the transcript came with the input. ``flags`` are reasons to doubt the text.
    ``dialogue`` and ``turn`` are those of the source row.
    """

    key: str
    source: str
    start_s: float
    end_s: float
    duration_s: float
    text: str
    language: str | None
    avg_logprob: float | None
    no_speech_prob: float | None
    compression_ratio: float | None
    flags: Sequence[str]
    speaker: str | None
    dialogue: str | None = None
    turn: int | None = None


@dataclass(frozen=True)
class WeakLabel:
    """The label of one utterance; ``entailment`` is P(entailment) of every label, in taxonomy order.

    Labels are ranked by ``entailment`` less a share of a prior; ``score`` and ``margin`` are of the corrected values.
    The two ``template_`` fields are empty with one template; with several they hold, for each, the label that it alone
    would give and its P(entailment), of which ``entailment`` is the mean. ``hypothesis_scores`` (templates, hypotheses)
    is empty where every label has one hypothesis.
    """

    key: str
    label: str
    label_index: int
    score: float
    margin: float
    entailment: Sequence[float]
    template_labels: Sequence[int]
    template_entailment: Sequence[Sequence[float]]
    flags: Sequence[str]
    hypothesis_scores: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Reject:
    """What is not in the shards, and why. ``stage`` is ``transcribe``, ``unpack`` or ``shard:<taxonomy>``."""

    key: str
    source: str
    start_s: float | None
    end_s: float | None
    stage: str
    reason: str
    detail: str


SOURCE_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("root", pa.int32()),
        ("path", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("dialogue", pa.string()),
        ("turn", pa.int64()),
    ]
)

TRANSCRIPT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("duration_s", pa.float64()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("avg_logprob", pa.float64()),
        ("no_speech_prob", pa.float64()),
        ("compression_ratio", pa.float64()),
        ("flags", pa.list_(pa.string())),
        ("speaker", pa.string()),
        ("dialogue", pa.string()),
        ("turn", pa.int64()),
    ]
)

LABEL_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("label_index", pa.int32()),
        ("score", pa.float32()),
        ("margin", pa.float32()),
        ("entailment", pa.list_(pa.float32())),
        ("template_labels", pa.list_(pa.int32())),
        ("template_entailment", pa.list_(pa.list_(pa.float32()))),
        ("flags", pa.list_(pa.string())),
        ("hypothesis_scores", pa.list_(pa.list_(pa.float32()))),
    ]
)

# One set of hypotheses in the order of its sentences.json: see `lanser_ops.labelling.score_store`.
SCORE_SCHEMA = pa.schema([("key", pa.string()), ("scores", pa.list_(pa.float32())), ("truncated", pa.bool_())])

# What a speech model says of an utterance: its id, the names of its classes, and their probabilities at six significant
# digits. All are null where the audio was not scored.
SPEECH_SCHEMA = pa.schema(
    [
        ("speech_model", pa.string()),
        ("speech_labels", pa.list_(pa.string())),
        ("speech_scores", pa.list_(pa.float64())),
    ]
)

# The stored scores of a speech model, null for utterances whose audio could not be read any more.
SPEECH_SCORE_SCHEMA = pa.schema([("key", pa.string()), SPEECH_SCHEMA.field("speech_scores")])

# The fields of ``<key>.json`` beside those of a transcript, a label and a speech model.
JSON_SCHEMA = pa.schema(
    [
        ("asr_model", pa.string()),
        ("context_texts", pa.list_(pa.string())),
        ("taxonomy", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("hypotheses", pa.list_(pa.list_(pa.string()))),
        ("aggregate", pa.string()),
        ("templates", pa.list_(pa.string())),
        ("label_source", pa.string()),
        ("nli_model", pa.string()),
        ("nli_sha256", pa.string()),
        ("against", pa.string()),
        ("context", pa.int64()),
        ("prior", pa.string()),
        ("prior_strength", pa.float64()),
        ("neutral_threshold", pa.float64()),
        ("temperature", pa.float64()),
    ]
)

REJECT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


def utterance_key(source: str, start_s: float | None, end_s: float | None) -> str:
    """The key of an utterance, 16 hex digits: a hash of its source, start and end (to the millisecond).

    >>> utterance_key("a/b.wav", 0.0, 2.5)
    'c3e6ca389c9480c0'
    """
    times = "\0".join("" if seconds is None else f"{seconds:.3f}" for seconds in (start_s, end_s))
    return hashlib.sha256(f"{source}\0{times}".encode()).hexdigest()[:16]


def make_reject(
    source: str, start_s: float | None, end_s: float | None, stage: str, reason: str, detail: str = ""
) -> Reject:
    """A reject under the key that the utterance would have had.

    Raises KeyError for a reason that is not in REASONS, so that every reason in an output is explained.
    """
    key = utterance_key(source, start_s, end_s)
    return Reject(key, source, start_s, end_s, stage, reason, detail or REASONS[reason])


def to_table(rows: Iterable[DataclassInstance], schema: pa.Schema) -> pa.Table:
    """Dataclass rows as a pyarrow table of ``schema`` (columns in the schema's order), `without_empty`."""
    return without_empty(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema))


def without_empty(table: pa.Table) -> pa.Table:
    """``table`` without those of OPTIONAL_COLUMNS in which no row has a value."""
    names = [name for name in OPTIONAL_COLUMNS if name in table.column_names]
    return table.drop_columns([name for name in names if table.column(name).null_count == len(table)])


def from_table(table: pa.Table, cls: type[Record]) -> list[Record]:
    """The rows of ``table`` as dataclasses of type ``cls``.

    Columns that ``cls`` lacks are ignored; fields with a default may be absent from ``table``.
    """
    present = set(table.column_names)
    names = [field.name for field in fields(cls) if field.name in present or field.default is MISSING]
    columns = [table.column(name).to_pylist() for name in names]
    return [cls(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
