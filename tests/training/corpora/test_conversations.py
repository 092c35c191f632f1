from __future__ import annotations

import pytest

from lanser_ops.common.errors import InputError
from training.corpora.folds import make_folds
from training.corpora.read import read_corpus


def test_iemocap_has_four_classes_and_sessions_for_groups(tmp_path, rows):
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


MELD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"


@pytest.fixture
def meld(tmp_path, touch):
    (tmp_path / "train_sent_emo.csv").write_text(
        MELD + '1,"Oh, hi!",Chandler,surprise,positive,0,3,8,21,"00:16:16,059","00:16:21,731"\n'
        '2,No.,Joey,neutral,neutral,1,0,8,21,"00:16:22,000","00:16:23,000"\n'
    )
    (tmp_path / "dev_sent_emo.csv").write_text(MELD + '1,Ew.,Monica,disgust,negative,0,3,1,2,"0:0:1,0","0:0:2,0"\n')
    (tmp_path / "test_sent_emo.csv").write_text(MELD + '1,Wow.,Joey,joy,positive,0,3,1,2,"0:0:1,0","0:0:2,0"\n')
    touch(
        "train_splits/dia0_utt3.mp4", "dev_splits_complete/dia0_utt3.mp4", "output_repeated_splits_test/dia0_utt3.wav"
    )


def test_meld_in_its_own_splits(tmp_path, meld):
    corpus = read_corpus("meld", str(tmp_path), None)
    assert [(str(row.path.relative_to(tmp_path)), row.label, row.group, row.split) for row in corpus.utterances] == [
        ("train_splits/dia0_utt3.mp4", "surprise", "Chandler", "train"),
        ("train_splits/dia1_utt0.mp4", "neutral", "Joey", "train"),
        ("dev_splits_complete/dia0_utt3.mp4", "disgust", "Monica", "val"),
        ("output_repeated_splits_test/dia0_utt3.wav", "joy", "Joey", "test"),
    ]
    [fold] = make_folds(corpus, None)
    assert (fold.train, fold.val, fold.test) == ((0, 1), (2,), (3,))


def test_a_label_file_without_a_column_is_refused(tmp_path, meld):
    (tmp_path / "dev_sent_emo.csv").write_text("Utterance,Speaker\nHi.,Joey\n")
    with pytest.raises(InputError, match="dev_sent_emo.csv: no column Emotion; use the label file as published"):
        read_corpus("meld", str(tmp_path), None)


def test_msp_podcast_takes_consensus_labels_of_three_partitions(tmp_path, touch):
    (tmp_path / "Labels").mkdir()
    (tmp_path / "Labels" / "labels_consensus.csv").write_text(
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
        "MSP-PODCAST_0001_0008.wav,N,2.4,4.0,2.8,127,Male,Test1\n"
        "MSP-PODCAST_0001_0019.wav,H,5.6,5.2,5.4,Unknown,Unknown,Train\n"
        "MSP-PODCAST_0002_0033.wav,X,4.0,4.0,4.0,128,Female,Train\n"
        "MSP-PODCAST_0002_0039.wav,C,4.0,4.0,4.0,128,Female,Development\n"
        "MSP-PODCAST_0003_0001.wav,A,4.0,4.0,4.0,129,Female,Test2\n"
    )
    touch("Audios/MSP-PODCAST_0001_0008.wav")
    corpus = read_corpus("msp-podcast", str(tmp_path), None)
    assert [(row.path.name, row.label, row.group, row.split) for row in corpus.utterances] == [
        ("MSP-PODCAST_0001_0008.wav", "neutral", "127", "test"),
        ("MSP-PODCAST_0001_0019.wav", "happiness", None, "train"),
        ("MSP-PODCAST_0002_0039.wav", "contempt", "128", "val"),
    ]
    assert corpus.utterances[0].path == tmp_path / "Audios" / "MSP-PODCAST_0001_0008.wav"
