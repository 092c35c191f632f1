from __future__ import annotations

from training.corpora.read import read_corpus


def test_ravdess_takes_speech_alone(tmp_path, touch, rows):
    touch("Actor_02/03-01-05-02-01-01-02.wav", "Actor_01/03-01-01-01-01-01-01.flac",
          "Actor_01/03-02-05-01-01-01-01.wav", "Actor_01/02-01-05-01-01-01-01.mp4", "readme.txt")  # fmt: skip
    corpus = read_corpus("ravdess", str(tmp_path), None)
    assert rows(corpus) == [
        ("03-01-01-01-01-01-01.flac", "neutral", "01"), ("03-01-05-02-01-01-02.wav", "angry", "02"),
    ]  # fmt: skip
    assert corpus.labels == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_cremad_and_emodb(tmp_path, touch, rows):
    touch("1001_DFA_ANG_XX.wav", "1091_WSI_SAD_HI.wav", "03a01Fa.wav", "16b10Lb.wav", "08a02N.wav")
    assert rows(read_corpus("cremad", str(tmp_path), None)) == [
        ("1001_DFA_ANG_XX.wav", "anger", "1001"), ("1091_WSI_SAD_HI.wav", "sadness", "1091"),
    ]  # fmt: skip
    assert rows(read_corpus("emodb", str(tmp_path), None)) == [
        ("03a01Fa.wav", "happiness", "03"), ("08a02N.wav", "neutral", "08"), ("16b10Lb.wav", "boredom", "16"),
    ]  # fmt: skip


def test_savee_in_a_folder_per_speaker_or_in_a_single_one(tmp_path, touch, rows):
    touch("AudioData/DC/sa01.wav", "AudioData/DC/a15.wav", "AudioData/KL/su03.wav", "AudioData/Info.txt")
    assert rows(read_corpus("savee", str(tmp_path / "AudioData"), None)) == [
        ("a15.wav", "anger", "DC"), ("sa01.wav", "sadness", "DC"), ("su03.wav", "surprise", "KL"),
    ]  # fmt: skip
    touch("ALL/JE_h02.wav", "ALL/JK_n30.wav")
    assert rows(read_corpus("savee", str(tmp_path / "ALL"), None)) == [
        ("JE_h02.wav", "happiness", "JE"), ("JK_n30.wav", "neutral", "JK"),
    ]  # fmt: skip


def test_tess_has_two_speakers(tmp_path, touch, rows):
    touch("OAF_angry/OAF_back_angry.wav", "YAF_pleasant_surprised/YAF_bite_ps.wav", "OAF_neutral/OA_bite_neutral.wav")
    corpus = read_corpus("tess", str(tmp_path), None)
    assert rows(corpus) == [
        ("OAF_back_angry.wav", "angry", "OA"), ("OA_bite_neutral.wav", "neutral", "OA"),
        ("YAF_bite_ps.wav", "surprise", "YA"),
    ]  # fmt: skip
    assert corpus.labels == ("angry", "disgust", "fear", "happy", "neutral", "surprise", "sad")


def test_esd_takes_the_emotion_from_the_folder(tmp_path, touch, rows):
    touch("0011/Angry/0011_000351.wav", "0020/Surprise/train/0020_001420.wav", "0012/Happy/0011_000701.wav",
          "0021/Sad/0021_001051.wav", "0011/0011.txt")  # fmt: skip
    assert rows(read_corpus("esd", str(tmp_path), None)) == [
        ("0011_000351.wav", "angry", "0011"), ("0020_001420.wav", "surprise", "0020"),
    ]  # fmt: skip
