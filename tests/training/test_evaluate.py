"""Evaluation on another corpus, with a model whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from lanser_ops.common.errors import InputError
from training.compare import main as compare
from training.evaluate import main
from training.label_names import match_labels
from training.model import new_model, save_model
from training.predictions import read_predictions


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones as RAVDESS: actors 1 and 2, each neutral, calm, happy twice and sad; one file is no audio."""
    root = tmp_path_factory.mktemp("ravdess")
    for actor in (1, 2):
        for emotion, repetition in ((1, 1), (2, 1), (3, 1), (3, 2), (4, 1)):
            name = f"03-01-{emotion:02}-01-01-{repetition:02}-{actor:02}.wav"
            soundfile.write(root / name, np.random.default_rng(emotion).normal(0, 0.1, 4800), 16000)
    (root / "03-01-04-01-01-02-01.wav").write_bytes(b"no audio")
    return root


@pytest.fixture(scope="module")
def always_joy(tmp_path_factory):
    """A network of weak labels that gives joy 0.4, amusement 0.3, sadness 0.2 and confusion 0.1 to every clip."""
    torch.manual_seed(0)
    model = new_model("resnet10-quarter", "tiny", ("joy", "amusement", "sadness", "confusion"))
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    folder = tmp_path_factory.mktemp("run")
    save_model(model, folder / "model")
    return folder


def evaluate(corpus, always_joy, *more):
    argv = ["--checkpoint", str(always_joy), "--data", "ravdess", "--root", str(corpus), "--device", "cpu"]
    return main([*argv, *map(str, more)])


def test_the_shared_labels_are_evaluated(corpus, always_joy, tmp_path, capsys):
    assert evaluate(corpus, always_joy, "--output", tmp_path / "out", "--image", tmp_path / "confusion.svg") == 0
    out = capsys.readouterr().out
    assert out.startswith("6 clips, 2 shared labels (chance UA 50.0%)\n")
    assert "no such label: neutral, calm, angry, fearful, disgust, surprised\n" in out
    assert "UA 50.0 (50.0 to 50.0) %  WA 66.7 (66.7 to 66.7) %  macro-F1 40.0 (40.0 to 40.0) %" in out
    assert "happy      4      .  100.0%\nsad        2      .    0.0%\n" in out
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["labels"], report["confusion"], len(report["skipped"])) == (["happy", "sad"], [[4, 0], [2, 0]], 1)
    assert report["figures"]["ua"] == {"estimate": 0.5, "low": 0.5, "high": 0.5}
    predictions = read_predictions(tmp_path / "out")
    assert [row.clip for row in predictions[:2]] == ["03-01-03-01-01-01-01.wav", "03-01-03-01-01-01-02.wav"]
    # 0.4 and 0.2, without the labels that RAVDESS does not have.
    assert predictions[0].probabilities == pytest.approx({"happy": 2 / 3, "sad": 1 / 3}, abs=1e-5)
    assert (tmp_path / "confusion.svg").read_text().startswith("<?xml")


def test_a_map_adds_labels_up(corpus, always_joy, tmp_path, capsys):
    (tmp_path / "map.yaml").write_text("amusement: sadness\nconfusion: calm\n")
    argv = ("--map", tmp_path / "map.yaml", "--output", tmp_path)
    assert evaluate(corpus, always_joy, *argv) == 0
    [first, *_] = read_predictions(tmp_path)
    assert first.predicted == "sad"
    assert first.probabilities == pytest.approx({"calm": 0.1, "happy": 0.4, "sad": 0.5}, abs=1e-5)


def test_features_of_the_cache_give_the_same_predictions(corpus, always_joy, tmp_path, capsys):
    for folder in ("a", "b"):  # the second one reads what the first one wrote
        argv = ("--cache", tmp_path / "cache", "--output", tmp_path / folder)
        assert evaluate(corpus, always_joy, *argv) == 0
    # Equal clips have one file: both actors say the same here.
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2
    assert read_predictions(tmp_path / "a") == read_predictions(tmp_path / "b")


def test_predictions_of_two_models_are_compared(corpus, always_joy, tmp_path, capsys):
    (tmp_path / "map.yaml").write_text("amusement: sadness\n")
    assert evaluate(corpus, always_joy, "--output", tmp_path / "a") == 0
    assert evaluate(corpus, always_joy, "--output", tmp_path / "b", "--map", tmp_path / "map.yaml") == 0
    capsys.readouterr()
    argv = ["--arm", tmp_path / "a", "--baseline", tmp_path / "b", "--output", tmp_path / "comparison.json"]
    assert compare([str(value) for value in argv]) == 0
    out = capsys.readouterr().out
    assert "| 100% | WA | 66.7 (66.7 to 66.7) | 33.3 (33.3 to 33.3) | +33.3 (+33.3 to +33.3) |\n" in out
    [row] = json.loads((tmp_path / "comparison.json").read_text())
    assert row["pairs"] == [{"seed": 0, "fold": 0, "ua_difference": 0.0}]
    assert compare(["--arm", str(tmp_path / "a"), "--baseline", str(tmp_path / "map.yaml")]) == 2
    assert f"lanser compare: {tmp_path / 'map.yaml'}: no predictions (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "content", "message"),
    [
        (["--image", "matrix.bmp"], "", "--image matrix.bmp: use a name that ends in .png or .svg"),
        (["--map", "MAP"], "grief: sadness", "--map: 'grief' is no label of the model; it has joy, amusement, sadness"),
        (["--map", "MAP"], "sadness: remorse", "share 1 labels; map the model's to the corpus' with --map FILE.yaml"),
        (["--map", "MAP"], "- sadness", "not a YAML mapping from label to label"),
        (["--map", "nowhere"], "", "--map nowhere: cannot be read (No such file or directory)"),
    ],
)
def test_bad_input_is_one_line(more, content, message, corpus, always_joy, tmp_path, capsys):
    (tmp_path / "map.yaml").write_text(content)
    assert evaluate(corpus, always_joy, *[tmp_path / "map.yaml" if word == "MAP" else word for word in more]) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1] and err.count("\n") <= 2


def test_a_full_disk_is_one_line_with_the_folder(corpus, always_joy, tmp_path, capsys, small_files):
    assert evaluate(corpus, always_joy, "--output", tmp_path / "out") == 1
    assert f"OSError: [Errno 27] File too large: '{tmp_path / 'out'}'" in capsys.readouterr().err.splitlines()[-1]


def test_a_corpus_without_rows_to_test_is_one_line(always_joy, tmp_path, capsys):
    data = tmp_path / "data.csv"
    data.write_text("path,label,split\na.wav,joy,train\nb.wav,sadness,train\n")
    assert main(["--checkpoint", str(always_joy), "--data", str(data)]) == 2
    assert f"--data {data}: no row of the test split has a label of the model" in capsys.readouterr().err


def test_names_of_one_emotion_match():
    match = match_labels(
        ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
        ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
        {},
    )
    assert match.labels == ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert match.columns == ((4,), (3,), (5,), (0,), (2,), (1,), (6,))
    with pytest.raises(InputError, match="share 0 labels"):
        match_labels(("a", "b"), ("c", "d"), {})
