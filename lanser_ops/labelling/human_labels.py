"""The CSV in which people label a sample: written by `lanser sample`, read back by `lanser calibrate`.

Spreadsheets change what they open: a key of digits becomes a number, a comma between columns a semicolon, and a cell
that begins with ``=`` is a formula. So such cells are quoted, the name of an audio file holds the key too, and the
separator of the file is looked for.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from difflib import get_close_matches

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from schemas.strict_yaml import fold

SEPARATORS = ",;\t"
# What makes a cell a formula in a spreadsheet (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
AUDIO_KEY = re.compile(r"([0-9a-f]{16})\.flac")


@dataclass(frozen=True)
class SampleRow:
    """A row of the CSV, whose columns are these fields; ``human`` is what a person fills in."""

    key: str
    audio: str
    transcript: str
    label: str
    score: float
    margin: float
    weight: int
    human: str = ""


@dataclass(frozen=True)
class HumanLabel:
    """A row that a person has labelled. ``label_index`` is that of the person's label."""

    row: int
    key: str
    label_index: int
    weight: float


def csv_content(rows: Iterable[SampleRow]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(field.name for field in fields(SampleRow))
    writer.writerows([cell(value) for value in astuple(row)] for row in rows)
    return stream.getvalue()


def cell(value: str | float) -> str:
    """A value as a cell that no spreadsheet takes for a formula; numbers have six significant digits."""
    text = value if isinstance(value, str) else f"{value:.6g}"
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


def read_human_labels(path: str, labels: Sequence[str]) -> tuple[list[HumanLabel], int]:
    """The rows with a label in the column ``human``, one of ``labels`` in any case, and the number of rows without.

    Raises InputError, one line, where the file cannot be read, lacks a column, or a row has an unknown label, no key,
    a weight that is none, or the key of another row.
    """
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--csv {path}: cannot be read as UTF-8 text ({' '.join(str(error).split())})") from None
    header = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(SEPARATORS, key=header.count))
    for column in ("human", "weight"):
        if column not in (rows.fieldnames or ()):
            raise InputError(f"--csv {path}: has no column {column!r}; label a file that lanser sample wrote")
    indices = {fold(label): index for index, label in enumerate(labels)}
    human_labels: dict[str, HumanLabel] = {}
    empty = 0
    try:
        for number, row in enumerate(rows, start=1):
            where = f"--csv {path}: row {number}"
            name = (row["human"] or "").strip()
            if not name:
                empty += 1
                continue
            key = _key(row, where)
            if fold(name) not in indices:
                raise InputError(f"{where}: {name!r} is not a label of the taxonomy; {label_advice(name, labels)}")
            if key in human_labels:
                raise InputError(f"{where}: has the key {key} of row {human_labels[key].row}; remove one of them")
            human_labels[key] = HumanLabel(number, key, indices[fold(name)], _weight(row["weight"], where))
    except csv.Error as error:
        raise InputError(f"--csv {path}: cannot be read as CSV ({error})") from None
    return list(human_labels.values()), empty


def _key(row: Mapping[str, str | None], where: str) -> str:
    matched = AUDIO_KEY.search(row.get("audio") or "")
    key = matched[1] if matched else (row.get("key") or "").strip()
    if not key:
        raise InputError(f"{where}: has neither a key nor the name of its audio; restore them from the sample")
    return key


def _weight(text: str | None, where: str) -> float:
    try:
        weight = float(text or "")
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InputError(f"{where}: its weight is {text!r}, which must be a number above 0; restore it from the sample")
    return weight


def label_advice(name: str, labels: Sequence[str]) -> str:
    """What to say of ``name``, which is none of ``labels``: the closest of them, or all."""
    by_folded = {fold(label): label for label in labels}
    close = get_close_matches(fold(name), by_folded, n=1)
    return f"did you mean {by_folded[close[0]]!r}?" if close else f"the labels are {', '.join(labels)}"
