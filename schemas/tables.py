"""What readers rely on in the tables of an output directory. Somebody may have changed or replaced one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from schemas.records import (
    LABEL_SCHEMA,
    OPTIONAL_COLUMNS,
    REJECT_SCHEMA,
    SCORE_SCHEMA,
    SOURCE_SCHEMA,
    SPEECH_SCORE_SCHEMA,
    TRANSCRIPT_SCHEMA,
)


@dataclass(frozen=True)
class Form:
    """The columns of a table; those of ``nullable`` may have nulls, those of OPTIONAL_COLUMNS may be absent, too."""

    schema: pa.Schema
    nullable: frozenset[str] = frozenset()


TRANSCRIPTS, REJECTS, LABELS, SCORES, SPEECH = "transcripts", "rejects", "labels", "scores", "speech"
# By the folder of the table.
FORMS = {
    TRANSCRIPTS: Form(
        TRANSCRIPT_SCHEMA,
        frozenset({"language", "avg_logprob", "no_speech_prob", "compression_ratio", "speaker", *OPTIONAL_COLUMNS}),
    ),
    REJECTS: Form(REJECT_SCHEMA, frozenset({"start_s", "end_s"})),
    LABELS: Form(LABEL_SCHEMA),
    SCORES: Form(SCORE_SCHEMA),
    SPEECH: Form(SPEECH_SCORE_SCHEMA, frozenset({"speech_scores"})),
}
PLAN_FORM = Form(
    SOURCE_SCHEMA, frozenset({"offset", "start_s", "end_s", "speaker", "language", "text", *OPTIONAL_COLUMNS})
)


def table_fault(table: pa.Table, form: Form, columns: Collection[str] | None = None) -> str | None:
    """What readers of ``columns`` (default: of all) would stumble over in ``table``; None if there is nothing.

    >>> table_fault(pa.table({"key": ["a"], "scores": [[0.5]]}), FORMS[SCORES])
    "its column 'scores' is of list<item: double>, not of list<item: float>"
    """
    for field in form.schema:
        if columns is not None and field.name not in columns:
            continue
        if field.name not in table.column_names:
            if field.name in OPTIONAL_COLUMNS:
                continue
            return f"it has no column {field.name!r}"
        column = table.column(field.name)
        if column.type != field.type:
            return f"its column {field.name!r} is of {str(column.type)[:60]}, not of {field.type}"
        if column.null_count and field.name not in form.nullable:
            return f"its column {field.name!r} has nulls"
        while pa.types.is_list(column.type):
            column = pc.list_flatten(column)
            if column.null_count:
                return f"its column {field.name!r} has nulls"
        if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column), min_count=0).as_py():
            return f"its column {field.name!r} has values that are not finite"
    return None
