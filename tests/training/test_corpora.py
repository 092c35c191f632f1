import numpy as np
import pytest
import soundfile

from lanser_ops.common.errors import InputError
from training.corpora import load, make_folds, read_corpus, take_fraction


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(corpus):
    return [(row.path.name, row.label, row.group) for row in corpus.utterances]


def test_ravdess_takes_speech_alone(tmp_path):
    touch(tmp_path, "Actor_02/03-01-05-02-01-01-02.wav", "Actor_01/03-01-01-01-01-01-01.flac",
          "Actor_01/03-02-05-01-01-01-01.wav", "Actor_01/02-01-05-01-01-01-01.mp4", "readme.txt")  # fmt: skip
    corpus = read_corpus("ravdess", str(tmp_path), None)
    assert found(corpus) == [
        ("03-01-01-01-01-01-01.flac", "neutral", "01"), ("03-01-05-02-01-01-02.wav", "angry", "02"),
    ]  # fmt: skip
    assert corpus.labels == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_cremad_and_emodb(tmp_path):
    touch(tmp_path, "1001_DFA_ANG_XX.wav", "1091_WSI_SAD_HI.wav", "03a01Fa.wav", "16b10Lb.wav", "08a02N.wav")
    assert found(read_corpus("cremad", str(tmp_path), None)) == [
        ("1001_DFA_ANG_XX.wav", "anger", "1001"), ("1091_WSI_SAD_HI.wav", "sadness", "1091"),
    ]  # fmt: skip
    assert found(read_corpus("emodb", str(tmp_path), None)) == [
        ("03a01Fa.wav", "happiness", "03"), ("08a02N.wav", "neutral", "08"), ("16b10Lb.wav", "boredom", "16"),
    ]  # fmt: skip


def test_iemocap_has_four_classes_and_sessions_for_groups(tmp_path):
    told = tmp_path / "Session2" / "dialog" / "EmoEvaluation" / "Ses02F_impro01.txt"
    told.parent.mkdir(parents=True)
    told.write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes02F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
        "[10.01 - 11.39]\tSes02F_impro01_M001\texc\t[4.0, 3.5, 3.0]\n\n"
        "[12.01 - 13.39]\tSes02F_impro01_M002\tfru\t[2.0, 3.5, 3.0]\n\n"
    )
    corpus = read_corpus("iemocap", str(tmp_path), None)
    assert found(corpus) == [
        ("Ses02F_impro01_F000.wav", "neutral", "Ses02"), ("Ses02F_impro01_M001.wav", "happiness", "Ses02"),
    ]  # fmt: skip
    assert corpus.utterances[0].path.parent == tmp_path / "Session2" / "sentences" / "wav" / "Ses02F_impro01"
    assert corpus.labels == ("anger", "happiness", "neutral", "sadness")


def csv_file(tmp_path, text):
    (tmp_path / "data.csv").write_text(text)
    return str(tmp_path / "data.csv")


def test_csv_with_stretches(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.arange(32000) / 64000, 16000)
    text = "path,label,speaker,start_s,end_s\nlong.wav,sad,a,0.5,1.0\nlong.wav,happy,b,,\nnone.wav,sad,a,,\n"
    corpus = read_corpus(csv_file(tmp_path, text), None, None)
    assert corpus.labels == ("happy", "sad")
    waves, skipped = load(corpus)
    assert [None if wave is None else len(wave) for wave in waves] == [8000, 32000, None]
    assert waves[0][0] == pytest.approx(8000 / 64000, abs=1e-4)
    assert len(skipped) == 1 and skipped[0].startswith(f"{tmp_path}/none.wav: ")


@pytest.mark.parametrize(
    ("text", "labels", "told"),
    [
        ("path,emotion\na.wav,sad\n", None, "data.csv: no column label; there must be path and label"),
        ("path,label\na.wav,sad\nb.wav,bored\n", ["sad", "happy"], "line 3: unknown label 'bored'; --labels has sad"),
        ("path,label\na.wav,\n", None, "line 2: path and label must not be empty"),
        ("path,label\na.wav,sad\n", None, "1 labels; there must be two or more"),
        ("path,label,split\na.wav,sad,dev\n", None, "line 2: split 'dev'; use train or test"),
        ("path,label,start_s\na.wav,sad,soon\n", None, "line 2: start_s and end_s must be seconds"),
    ],
)
def test_bad_csv(text, labels, told, tmp_path):
    with pytest.raises(InputError, match=told):
        read_corpus(csv_file(tmp_path, text), None, labels)


def test_no_such_csv_or_root(tmp_path):
    with pytest.raises(InputError, match="not a CSV that can be read .* nor one of ravdess"):
        read_corpus(str(tmp_path / "none.csv"), None, None)
    with pytest.raises(InputError, match="no file there is named as those of emodb are"):
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
