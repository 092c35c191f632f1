from __future__ import annotations

from pathlib import Path

import pytest

from lanser_ops.common.errors import InputError
from training.corpora.folds import hold_out, make_folds, take_fraction
from training.corpora.read import read_corpus
from training.corpora.utterance import Corpus, Utterance


@pytest.fixture
def ravdess(tmp_path, touch):
    touch(*[f"03-01-0{1 + n % 8}-01-01-01-{actor:02}.wav" for actor in range(1, 25) for n in range(2)])
    return read_corpus("ravdess", str(tmp_path), None)


def actors(corpus, rows):
    return sorted({int(corpus.utterances[row].group) for row in rows})


def test_folds_share_no_speaker(ravdess):
    folds = make_folds(ravdess, None)
    assert [actors(ravdess, fold.test) for fold in folds] == [
        [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20], [21, 22, 23, 24],
    ]  # fmt: skip
    assert all(sorted(fold.train + fold.test) == list(range(48)) for fold in folds)
    with pytest.raises(InputError, match="24 speakers for 25 speaker-independent folds"):
        make_folds(ravdess, 25)


def test_emobox_folds_of_ravdess(ravdess):
    folds = make_folds(ravdess, "emobox")
    assert [actors(ravdess, fold.test) for fold in folds] == [
        [1, 11, 20, 21], [4, 10, 12, 14], [8, 9, 19, 23], [3, 5, 7, 24], [2, 15, 16, 18], [6, 13, 17, 22],
    ]  # fmt: skip
    assert all(sorted(fold.train + fold.test) == list(range(48)) for fold in folds)


def test_emobox_folds_of_another_corpus_are_refused(tmp_path, touch):
    touch("03a01Fa.wav", "08a02N.wav")
    with pytest.raises(InputError, match="--folds emobox: known for ravdess alone; give a number of folds"):
        make_folds(read_corpus("emodb", str(tmp_path), None), "emobox")


def csv_corpus(tmp_path, text):
    (tmp_path / "data.csv").write_text(text)
    return read_corpus(str(tmp_path / "data.csv"), None, None)


def test_a_split_is_one_fold(tmp_path):
    text = "path,label,split\na.wav,sad,train\nb.wav,happy,test\nc.wav,happy,train\nd.wav,sad,val\n"
    [fold] = make_folds(csv_corpus(tmp_path, text), None)
    assert (fold.train, fold.val, fold.test) == ((0, 2), (3,), (1,))
    with pytest.raises(InputError, match="a split must be one of train, val, test in every row, and train and test mu"):
        make_folds(csv_corpus(tmp_path, "path,label,split\na.wav,sad,val\nb.wav,happy,test\n"), None)


def test_fractions_keep_the_labels_and_lie_within_each_other():
    labels = [0] * 40 + [1] * 20 + [2] * 4
    rows = list(range(64))
    tenth, quarter, whole = (take_fraction(rows, labels, fraction, seed=1) for fraction in (0.1, 0.25, 1.0))
    assert [sum(labels[row] == label for row in tenth) for label in range(3)] == [4, 2, 1]
    assert [sum(labels[row] == label for row in quarter) for label in range(3)] == [10, 5, 1]
    assert set(tenth) < set(quarter) and whole == rows
    assert take_fraction(rows, labels, 0.1, seed=2) != tenth


def test_validation_speakers_are_not_trained_on(ravdess):
    rows = make_folds(ravdess, "emobox")[0].train
    train, val = hold_out(ravdess, rows, 0.2, seed=0)
    assert (len(actors(ravdess, train)), len(actors(ravdess, val))) == (16, 4)
    assert sorted(train + val) == sorted(rows) and not set(actors(ravdess, train)) & set(actors(ravdess, val))
    assert hold_out(ravdess, rows, 0.2, seed=0) == (train, val)
    assert actors(ravdess, hold_out(ravdess, rows, 0.2, seed=1)[1]) != actors(ravdess, val)
    assert hold_out(ravdess, rows, 0, seed=0) == (list(rows), [])


def test_a_speaker_is_left_to_train_on():
    corpus = Corpus(("a", "b"), tuple(Utterance(Path("x"), "a", group) for group in ("s", "t", "t", None)), 2)
    train, val = hold_out(corpus, [0, 1, 2, 3], 1.0, seed=0)
    assert (train, val) in [([0, 3], [1, 2]), ([1, 2, 3], [0])]
    with pytest.raises(InputError, match="1 speakers to train on, too few to validate on some of them; give --val-sha"):
        hold_out(corpus, [1, 2, 3], 0.2, seed=0)
