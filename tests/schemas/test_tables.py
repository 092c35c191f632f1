"""Tables that are whole Parquet files and not what was written."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.tables import FORMS, LABELS, REJECTS, SCORES, SPEECH, TRANSCRIPTS, table_fault

ROW = {
    "key": "0" * 16, "source": "a.wav", "start_s": 0.0, "end_s": 1.0, "duration_s": 1.0, "text": "hm", "language": None,
    "avg_logprob": None, "no_speech_prob": None, "compression_ratio": None, "flags": [], "speaker": None,
}  # fmt: skip


def transcripts(**changed: object) -> pa.Table:
    schema = pa.schema([field for field in FORMS[TRANSCRIPTS].schema if field.name in ROW])
    return pa.Table.from_pylist([ROW | changed], schema=schema)


def test_optional_columns_may_be_absent():
    assert table_fault(transcripts(), FORMS[TRANSCRIPTS]) is None


def test_an_utterance_may_lack_the_scores_of_a_speech_model_but_not_of_one_class():
    schema = FORMS[SPEECH].schema
    rows = [{"key": "a", "speech_scores": None}, {"key": "b", "speech_scores": [0.5]}]
    assert table_fault(pa.Table.from_pylist(rows, schema=schema), FORMS[SPEECH]) is None
    rows[1]["speech_scores"] = [0.5, None]
    assert (
        table_fault(pa.Table.from_pylist(rows, schema=schema), FORMS[SPEECH]) == "its column 'speech_scores' has nulls"
    )


@pytest.mark.parametrize("name", [TRANSCRIPTS, REJECTS, LABELS, SCORES, SPEECH])
def test_an_empty_table_is_one(name: str):
    assert table_fault(FORMS[name].schema.empty_table(), FORMS[name]) is None


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (transcripts().drop_columns(["text"]), "it has no column 'text'"),
        (transcripts(text=None), "its column 'text' has nulls"),
        (transcripts(flags=None), "its column 'flags' has nulls"),
        (transcripts(flags=["a", None]), "its column 'flags' has nulls"),
        (transcripts(start_s=float("nan")), "its column 'start_s' has values that are not finite"),
        (transcripts(avg_logprob=float("inf")), "its column 'avg_logprob' has values that are not finite"),
        (
            transcripts().set_column(0, "key", pa.array([7])),
            "its column 'key' is of int64, not of string",
        ),
        (pa.table({"x": [1]}), "it has no column 'key'"),
    ],
)
def test_what_readers_would_stumble_over(table: pa.Table, fault: str):
    assert table_fault(table, FORMS[TRANSCRIPTS]) == fault
    assert table_fault(transcripts(), FORMS[TRANSCRIPTS], ["key"]) is None
