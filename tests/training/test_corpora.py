from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from lanser_ops.common.errors import InputError
from training.corpora import load, make_folds, read_corpus, take_fraction


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def rows(corpus):
    return [(row.path.name, row.label, row.group) for row in corpus.utterances]


def test_ravdess_takes_speech_alone(tmp_path):
    touch(tmp_path, "Actor_02/03-01-05-02-01-01-02.wav", "Actor_01/03-01-01-01-01-01-01.flac",
          "Actor_01/03-02-05-01-01-01-01.wav", "Actor_01/02-01-05-01-01-01-01.mp4", "readme.txt")  # fmt: skip
    corpus = read_corpus("ravdess", str(tmp_path), None)
    assert rows(corpus) == [
        ("03-01-01-01-01-01-01.flac", "neutral", "01"), ("03-01-05-02-01-01-02.wav", "angry", "02"),
    ]  # fmt: skip
    assert corpus.labels == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_cremad_and_emodb(tmp_path):
    touch(tmp_path, "1001_DFA_ANG_XX.wav", "1091_WSI_SAD_HI.wav", "03a01Fa.wav", "16b10Lb.wav", "08a02N.wav")
    assert rows(read_corpus("cremad", str(tmp_path), None)) == [
        ("1001_DFA_ANG_XX.wav", "anger", "1001"), ("1091_WSI_SAD_HI.wav", "sadness", "1091"),
    ]  # fmt: skip
    assert rows(read_corpus("emodb", str(tmp_path), None)) == [
        ("03a01Fa.wav", "happiness", "03"), ("08a02N.wav", "neutral", "08"), ("16b10Lb.wav", "boredom", "16"),
    ]  # fmt: skip


def test_iemocap_has_four_classes_and_sessions_for_groups(tmp_path):
    evaluation = tmp_path / "Session2" / "dialog" / "EmoEvaluation" / "Ses02F_impro01.txt"
    evaluation.parent.mkdir(parents=True)
    evaluation.write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes02F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
        "[10.01 - 11.39]\tSes02F_impro01_M001\texc\t[4.0, 3.5, 3.0]\n\n"
        "[12.01 - 13.39]\tSes02F_impro01_M002\tfru\t[2.0, 3.5, 3.0]\n\n"
    )
    corpus = read_corpus("iemocap", str(tmp_path), None)
    assert rows(corpus) == [
        ("Ses02F_impro01_F000.wav", "neutral", "Ses02"), ("Ses02F_impro01_M001.wav", "happiness", "Ses02"),
    ]  # fmt: skip
    assert corpus.utterances[0].path.parent == tmp_path / "Session2" / "sentences" / "wav" / "Ses02F_impro01"
    assert corpus.labels == ("anger", "happiness", "neutral", "sadness")


def csv_file(tmp_path, text):
    (tmp_path / "data.csv").write_text(text)
    return str(tmp_path / "data.csv")


def test_csv_with_parts_of_files(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.arange(32000) / 64000, 16000)
    text = (
        "path,label,speaker,start_s,end_s\nlong.wav,sad,a,0.5,1.0\nnone.wav,sad,a,,\nlong.wav,happy,b,,\n"
        "long.wav,sad,b,1.5,9\nlong.wav,sad,b,2,3\n"
    )
    corpus = read_corpus(csv_file(tmp_path, text), None, None)
    assert corpus.labels == ("happy", "sad")
    waves, skipped = load(corpus)
    assert [None if wave is None else len(wave) for wave in waves] == [8000, None, 32000, 8000, None]
    assert waves[0][0] == pytest.approx(8000 / 64000, abs=1e-4)
    assert waves[3][0] == pytest.approx(24000 / 64000, abs=1e-4)
    assert len(skipped) == 2 and skipped[0].startswith(f"{tmp_path}/none.wav: ")
    assert skipped[1] == f"{tmp_path}/long.wav: nothing from 2.0 to 3.0 s in 2.00 s of audio"


def test_a_file_too_short_for_a_sample_at_16_khz_is_left_out(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.full(1, 0.5), 48000)
    soundfile.write(tmp_path / "whole.wav", np.full(4800, 0.5), 48000)
    corpus = read_corpus(csv_file(tmp_path, "path,label\nclick.wav,sad\nwhole.wav,happy\n"), None, None)
    waves, skipped = load(corpus)
    assert waves[0] is None and len(waves[1]) == 1600
    assert skipped == [f"{tmp_path}/click.wav: empty: too short for a sample at 16 kHz"]


@pytest.mark.parametrize("extension", ["mp3", "ogg"])
def test_a_truncated_file_is_left_out(extension, tmp_path, capsys):
    """libsndfile decodes the first part of such a file without an error."""
    wave = np.random.default_rng(0).normal(0, 0.1, 5 * 16000)
    content = io.BytesIO()
    formats = {"mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS")}
    soundfile.write(content, wave, 16000, format=formats[extension][0], subtype=formats[extension][1])
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    whole.write_bytes(content.getvalue())
    cut.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    assert 0 < len(soundfile.read(cut)[0]) < 3 * 16000
    corpus = read_corpus(csv_file(tmp_path, f"path,label\n{whole.name},sad\n{cut.name},happy\n"), None, None)
    waves, [skipped] = load(corpus)
    assert len(waves[0]) == pytest.approx(80000, abs=2500) and waves[1] is None
    assert skipped.startswith(f"{cut}: truncated: ")
    assert capsys.readouterr().err == f"cannot be decoded, left out: {skipped}\n"


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        ("path,emotion\na.wav,sad\n", None, "data.csv: no column label; path and label are required"),
        ("path,label\na.wav,sad\nb.wav,bored\n", ["sad", "happy"], "line 3: unknown label 'bored'; --labels has sad"),
        ("path,label\na.wav,\n", None, "line 2: path and label must not be empty"),
        ("path,label\na.wav,sad\n", None, "1 labels; give utterances of two or more"),
        ("path,label,split\na.wav,sad,dev\n", None, "line 2: split 'dev'; use train or test"),
        ("path,label,start_s\na.wav,sad,soon\n", None, "line 2: start_s and end_s must be seconds"),
        ("path,label,start_s\na.wav,sad,nan\n", None, "line 2: start_s nan and end_s None; use 0 <= start_s < end_s"),
        ("path,label,start_s,end_s\na.wav,sad,2,1.5\n", None, "line 2: start_s 2.0 and end_s 1.5; use 0 <= start_s"),
        ("path,label,start_s\na.wav,sad,-1\n", None, "line 2: start_s -1.0 and end_s None; use 0 <= start_s < end_s"),
    ],
)
def test_bad_csv(text, labels, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_corpus(csv_file(tmp_path, text), None, labels)


def test_no_such_csv_or_root(tmp_path):
    with pytest.raises(InputError, match="not a readable CSV .* nor one of ravdess"):
        read_corpus(str(tmp_path / "none.csv"), None, None)
    with pytest.raises(InputError, match="no file is named like those of emodb"):
        read_corpus("emodb", str(tmp_path), None)
    with pytest.raises(InputError, match="--root must be the folder"):
        read_corpus("emodb", None, None)


def test_folds_share_no_speaker(tmp_path):
    touch(tmp_path, *[f"03-01-0{1 + n % 8}-01-01-01-{actor:02}.wav" for actor in range(1, 25) for n in range(2)])
    corpus = read_corpus("ravdess", str(tmp_path), None)
    folds = make_folds(corpus, None)
    tested = [sorted({int(corpus.utterances[row].group) for row in fold.test}) for fold in folds]
    assert tested == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20], [21, 22, 23, 24]]
    assert all(sorted(fold.train + fold.test) == list(range(48)) for fold in folds)
    with pytest.raises(InputError, match="24 speakers for 25 speaker-independent folds"):
        make_folds(corpus, 25)


def test_a_split_is_one_fold(tmp_path):
    text = "path,label,split\na.wav,sad,train\nb.wav,happy,test\nc.wav,happy,train\n"
    [fold] = make_folds(read_corpus(csv_file(tmp_path, text), None, None), None)
    assert (fold.train, fold.test) == ((0, 2), (1,))


def test_fractions_keep_the_labels_and_lie_within_each_other():
    labels = [0] * 40 + [1] * 20 + [2] * 4
    rows = list(range(64))
    tenth, quarter, whole = (take_fraction(rows, labels, fraction, seed=1) for fraction in (0.1, 0.25, 1.0))
    assert [sum(labels[row] == label for row in tenth) for label in range(3)] == [4, 2, 1]
    assert [sum(labels[row] == label for row in quarter) for label in range(3)] == [10, 5, 1]
    assert set(tenth) < set(quarter) and whole == rows
    assert take_fraction(rows, labels, 0.1, seed=2) != tenth
