from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from lanser_ops.common.errors import InputError
from training.corpora.read import load, read_corpus


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
    assert {row: len(wave) for row, wave in waves.items()} == {0: 8000, 2: 32000, 3: 8000}
    assert waves[0][0] == pytest.approx(8000 / 64000, abs=1e-4)
    assert waves[3][0] == pytest.approx(24000 / 64000, abs=1e-4)
    assert len(skipped) == 2 and skipped[0].startswith(f"{tmp_path}/none.wav: ")
    assert skipped[1] == f"{tmp_path}/long.wav: nothing from 2.0 to 3.0 s in 2.00 s of audio"


def test_a_file_too_short_for_a_sample_at_16_khz_is_left_out(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.full(1, 0.5), 48000)
    soundfile.write(tmp_path / "whole.wav", np.full(4800, 0.5), 48000)
    corpus = read_corpus(csv_file(tmp_path, "path,label\nclick.wav,sad\nwhole.wav,happy\n"), None, None)
    waves, skipped = load(corpus)
    assert {row: len(wave) for row, wave in waves.items()} == {1: 1600}
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
    assert list(waves) == [0] and len(waves[0]) == pytest.approx(80000, abs=2500)
    assert skipped.startswith(f"{cut}: truncated: ")
    assert capsys.readouterr().err == f"cannot be decoded, left out: {skipped}\n"


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        ("path,emotion\na.wav,sad\n", None, "data.csv: no column label; path and label are required"),
        ("path,label\na.wav,sad\nb.wav,bored\n", ["sad", "happy"], "line 3: unknown label 'bored'; --labels has sad"),
        ("path,label\na.wav,\n", None, "line 2: path and label must not be empty"),
        ("path,label\na.wav,sad\n", None, "1 labels; give utterances of two or more"),
        ("path,label,split\na.wav,sad,trial\n", None, "line 2: split 'trial'; use train, val, test"),
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
    with pytest.raises(InputError, match="none.csv: no such CSV, and no corpus of that name \\(ravdess"):
        read_corpus(str(tmp_path / "none.csv"), None, None)
    with pytest.raises(InputError, match="no labelled files as emodb is published"):
        read_corpus("emodb", str(tmp_path), None)
    with pytest.raises(InputError, match="--data emodb: needs --root; give the folder of the corpus"):
        read_corpus("emodb", None, None)
