"""Batches of equal lengths: their shapes follow from the length alone."""

from __future__ import annotations

import numpy as np

from lanser_ops.labelling.batches import batch_rows, equal_length_batches


def test_rows_depend_on_the_length_alone():
    assert [batch_rows(length, 256) for length in (1, 16, 17, 20, 64, 512)] == [256, 16, 15, 12, 4, 1]


def test_every_input_is_in_one_batch_of_its_length():
    batches = list(equal_length_batches(np.array([30, 20, 30, 20, 20, 90]), 60))
    assert [(batch.indices.tolist(), batch.rows, batch.length) for batch in batches] == [
        ([1, 3, 4], 3, 20),
        ([0, 2], 2, 30),
        ([5], 1, 90),
    ]


def test_a_length_with_more_inputs_than_rows_takes_several_batches():
    batches = list(equal_length_batches(np.full(5, 30), 60))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert {batch.rows for batch in batches} == {2}


def test_no_inputs():
    assert list(equal_length_batches(np.array([], dtype=np.int64), 60)) == []
