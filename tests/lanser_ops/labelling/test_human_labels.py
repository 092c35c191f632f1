"""The CSV for people, as spreadsheets leave it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.labelling.human_labels import HumanLabel, SampleRow, csv_content, read_human_labels

LABELS = ("joy", "sadness", "Neutral")
A, B = "00112233aabbccdd", "1234567890123456"
HEADER = "key,audio,transcript,label,score,margin,weight,human\n"


def read(tmp_path: Path, content: str) -> tuple[list[HumanLabel], int]:
    path = tmp_path / "labelled.csv"
    path.write_bytes(content.encode())
    return read_human_labels(str(path), LABELS)


def test_cells_are_never_formulas():
    for text in ("=1+1", "+49 30", "-no-", "@all", "\tx", "\rx"):
        row = SampleRow(A, "a/x.flac", text, "joy", 0.5, 0.25, 12)
        (cells,) = csv.DictReader(io.StringIO(csv_content([row]), newline=""))
        assert cells["transcript"] == "'" + text
    row = SampleRow(A, "a/x.flac", 'Yes, "sir"\nhe said', "joy", 0.123457, 0.1, 12)
    assert (
        csv_content([row]) == HEADER.strip() + "\r\n" + f'{A},a/x.flac,"Yes, ""sir""\nhe said",joy,0.123457,0.1,12,\r\n'
    )


def test_labels_are_read_and_empty_rows_counted(tmp_path: Path):
    content = HEADER + f"{A},,hm,joy,0.5,0.1,12,Joy \n{B},,hm,joy,0.5,0.1,3,\nx,,hm,joy,0.5,0.1,3.5,neutral\n"
    labels = [HumanLabel(1, A, 0, 12.0), HumanLabel(3, "x", 2, 3.5)]
    assert read(tmp_path, content) == (labels, 1)
    assert read(tmp_path, "\N{BYTE ORDER MARK}" + content.replace("\n", "\r\n")) == (labels, 1)
    assert read(tmp_path, content.replace(",", ";")) == (labels, 1)
    assert read(tmp_path, content.replace(",", "\t")) == (labels, 1)


def test_a_key_that_became_a_number_is_found_in_the_audio(tmp_path: Path):
    """Spreadsheets read 16 digits as a number and keep 15 of them."""
    (label,), _ = read(tmp_path, HEADER + f"1.23457E+15,sample-audio/{B}.flac,hm,joy,0.5,0.1,12,joy\n")
    assert label.key == B


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            f"{A},,hm,joy,0.5,0.1,12,glum",
            "row 1: 'glum' is not a label of the taxonomy; the labels are joy, sadness, Neutral",
        ),
        (f"{A},,hm,joy,0.5,0.1,12,sadnes", "row 1: 'sadnes' is not a label of the taxonomy; did you mean 'sadness'?"),
        (f"{A},,hm,joy,0.5,0.1,12,joy\n" * 2, f"row 2: has the key {A} of row 1; remove one of them"),
        (",,hm,joy,0.5,0.1,12,joy", "row 1: has neither a key nor the name of its audio; restore them from the sample"),
        (
            f"{A},,hm,joy,0.5,0.1,0,joy",
            "row 1: its weight is '0', which must be a number above 0; restore it from the sample",
        ),
        (f"{A},,hm", None),
    ],
)
def test_a_bad_row_is_refused_in_one_line(tmp_path: Path, row: str, message: str | None):
    if message is None:  # a row that ends early has no label
        assert read(tmp_path, HEADER + row) == ([], 1)
        return
    with pytest.raises(InputError) as refused:
        read(tmp_path, HEADER + row)
    assert str(refused.value) == f"--csv {tmp_path / 'labelled.csv'}: {message}"


def test_another_file_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "labelled.csv"
    with pytest.raises(InputError, match=f"^--csv {path}: cannot be read as UTF-8 text"):
        read_human_labels(str(path), LABELS)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"^--csv {path}: cannot be read as UTF-8 text"):
        read_human_labels(str(path), LABELS)
    with pytest.raises(InputError, match=f"^--csv {path}: has no column 'human'; label a file that lanser sample"):
        read(tmp_path, "text,label\nhm,joy\n")
