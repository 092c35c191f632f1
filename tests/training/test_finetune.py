from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.classifier import fit_linear, probabilities
from training.early_stopping import EarlyStopping
from training.evaluation import summarise
from training.finetune import main
from training.model import load_model, new_model, save_model
from training.predict import main as predict
from training.predictions import read_predictions
from training.whisper import load_whisper

ROOT = Path(__file__).parents[2]
QUICK = ["--device", "cpu", "--steps", "30", "--batch-size", "8", "--crop-s", "0.4", "--lr", "0.003"]


def tone(number, frequency):
    t = np.arange(9600) / 16000
    noise = np.random.default_rng(number).normal(0, 0.01, len(t))
    return 0.2 * np.sin(2 * np.pi * frequency * t) + noise


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two easy classes, low and high tones, of four speakers; one file is no audio."""
    folder = tmp_path_factory.mktemp("labelled")
    lines = ["path,label,speaker"]
    for number in range(32):
        label = ("low", "high")[number % 2]
        soundfile.write(folder / f"{number}.wav", tone(number, 200 if label == "low" else 2000), 16000)
        lines.append(f"{number}.wav,{label},speaker-{number // 8}")
    (folder / "broken.wav").write_bytes(b"no audio")
    (folder / "data.csv").write_text("\n".join([*lines, "broken.wav,low,speaker-0"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def finetuned(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("finetuned") / "run"
    arguments = ["--backbone", "resnet10-half", "--data", str(data / "data.csv"), "--output", str(output), *QUICK]
    assert main([*arguments, "--folds", "2", "--label-fraction", "0.5", "1.0"]) == 0
    return output


def test_results_say_what_was_done(finetuned):
    results = json.loads((finetuned / "results.json").read_text())
    assert (results["labels"], results["clips"], len(results["skipped"])) == (["high", "low"], 32, 1)
    assert "broken.wav" in results["skipped"][0]
    assert [(run["fraction"], run["fold"], run["train_clips"], run["test_clips"]) for run in results["runs"]] == [
        (0.5, 0, 8, 16), (0.5, 1, 8, 16), (1.0, 0, 16, 16), (1.0, 1, 16, 16),
    ]  # fmt: skip
    # One of the two training speakers validates.
    assert [run["val_clips"] for run in results["runs"]][2:] == [8, 8]
    summary = results["summary"][1]
    assert summary["ua_mean"] > 0.9 and summary["ua_interval"][0] <= summary["ua_mean"] <= summary["ua_interval"][1]
    assert np.sum(summary["confusion"]) == 32


def test_predictions_are_saved_per_clip(finetuned):
    predictions = read_predictions(finetuned)
    assert len(predictions) == 64
    of_first = [row for row in predictions if row.clip == "0.wav"]
    assert [(row.fraction, row.seed, row.fold, row.speaker, row.gold) for row in of_first] == [
        (0.5, 0, 0, "speaker-0", "low"), (1.0, 0, 0, "speaker-0", "low"),
    ]  # fmt: skip
    for row in predictions:
        assert list(row.probabilities) == ["high", "low"] and sum(row.probabilities.values()) == pytest.approx(
            1, abs=1e-5
        )
        assert row.predicted == max(row.probabilities, key=row.probabilities.get)
    runs = json.loads((finetuned / "results.json").read_text())["runs"]
    errors = sum(row.gold != row.predicted for row in predictions if (row.fraction, row.fold) == (1.0, 1))
    assert errors == 16 - np.trace(runs[3]["confusion"])


def test_figures_are_logged_for_tensorboard(finetuned):
    [events] = (finetuned / "tensorboard" / "lanser").glob("events.*")
    accumulator = EventAccumulator(str(events)).Reload()
    assert [event.step for event in accumulator.Scalars("ua")] == [30, 60, 90, 120]
    assert accumulator.Scalars("loss")[0].step == 1


def test_training_stops_when_validation_no_longer_improves(data, tmp_path, capfd):
    """Two classes this easy are told apart after a few steps, and no UA is above 100 %."""
    arguments = ["--backbone", "resnet10-quarter", "--data", str(data / "data.csv"), "--output", str(tmp_path)]
    arguments += [*QUICK, "--steps", "400", "--only-folds", "0", "--patience", "2", "--val-share", "0.4"]
    assert main(arguments) == 0
    [run] = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert run["step"] < 400 and (run["val_clips"], run["train_clips"]) == (8, 24)
    output = capfd.readouterr()
    assert f"next: lanser predict AUDIO --checkpoint {tmp_path}" in output.out
    assert "step 800/800: the model for use, about 0 s to go" in output.err


def test_early_stopping_keeps_the_best_weights():
    torch.manual_seed(0)
    model = new_model("resnet10-quarter", "tiny", ("high", "low"))
    waves = [tone(number, (2000, 200)[number % 2]).astype(np.float32) for number in range(4)]
    stopping = EarlyStopping(model, waves, [0, 1, 0, 1], 40, 2, torch.device("cpu"))

    def always(label):
        torch.nn.init.zeros_(model.head.weight)
        model.head.bias.data = torch.tensor([0.0, 1.0]) if label else torch.tensor([1.0, 0.0])

    always(0)
    assert not stopping.after_step(1)
    assert stopping.best_step == 0
    assert not stopping.after_step(2)
    always(1)
    assert [stopping.after_step(step) for step in (3, 4, 5, 6)] == [False, False, False, True]
    assert (stopping.best_step, stopping.best_ua) == (2, 0.5)
    stopping.restore()
    assert model.head.bias.tolist() == [1.0, 0.0]


def test_the_export_loads_with_one_call_in_a_fresh_process(finetuned, data):
    code = (
        "import sys\n"
        "from lanser_ops.audio.decode import read_all\n"
        "from training.classifier import probabilities\n"
        "from training.model import load_model\n"
        f"model = load_model({str(finetuned)!r})\n"
        f"wave = read_all(open({str(data / '1.wav')!r}, 'rb'))\n"
        "print(model.spec.labels, probabilities(model, [wave]).argmax().item())\n"
        "assert not {'training.finetune', 'training.pretrain', 'apache_beam', 'faster_whisper'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "('high', 'low') 0\n", done.stderr


def test_predict_prints_probabilities(finetuned, data, capsys):
    assert predict([str(data / "1.wav"), str(data / "2.wav"), "--checkpoint", str(finetuned), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["predicted"] for line in lines] == ["high", "low"]
    assert all(sum(line["probabilities"].values()) == pytest.approx(1.0, abs=1e-5) for line in lines)


def test_predict_agrees_with_a_batch_of_clips_of_other_lengths(finetuned, tmp_path, capsys):
    waves = [tone(number, 200)[: 9600 - 1100 * number].astype(np.float32) for number in range(6)]
    for number, wave in enumerate(waves):
        soundfile.write(tmp_path / f"{number}.wav", wave, 16000, subtype="FLOAT")
    model = load_model(finetuned)
    expected = probabilities(model, waves)
    files = [str(tmp_path / f"{number}.wav") for number in range(6)]
    assert predict([*files, "--checkpoint", str(finetuned), "--json"]) == 0
    lines = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    predicted = np.array([[line[label] for label in model.spec.labels] for line in lines])
    assert predicted == pytest.approx(expected.numpy(), abs=1e-4)


def test_predict_refuses_corrupt_weights_in_one_line(data, tmp_path, capsys):
    save_model(new_model("resnet10-quarter", "tiny", ("a", "b")), tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert predict([str(data / "1.wav"), "--checkpoint", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"lanser predict: {path}: the weights cannot be read (") and err.count("\n") == 1


def test_predict_goes_on_after_a_file_that_does_not_decode(finetuned, data, capsys):
    assert predict([str(data / "broken.wav"), str(data / "1.wav"), "--checkpoint", str(finetuned)]) == 0
    output = capsys.readouterr()
    assert "1.wav  high " in output.out
    assert output.err.startswith(f"cannot be decoded, left out: {data / 'broken.wav'}: ")
    assert predict([str(data / "broken.wav"), "--checkpoint", str(finetuned)]) == 2
    assert capsys.readouterr().err.endswith("lanser predict: none of 1 files can be decoded\n")


def test_the_same_seed_gives_the_same_figures_and_frozen_takes_the_checkpoint_as_it_is(data, tmp_path):
    torch.manual_seed(0)
    save_model(new_model("resnet10-half", "tiny", ("a", "b", "c")), tmp_path / "pretrained" / "model")
    runs = []
    for name in ("first", "second"):
        arguments = ["--checkpoint", str(tmp_path / "pretrained"), "--data", str(data / "data.csv"), "--frozen"]
        arguments += ["--output", str(tmp_path / name), "--seeds", "0", "1", "--only-folds", "0", "--no-export", *QUICK]
        assert main(arguments) == 0
        runs.append(json.loads((tmp_path / name / "results.json").read_text())["runs"])
        assert not (tmp_path / name / "model").exists()
    assert runs[0] == runs[1]
    assert [(run["seed"], run["fold"]) for run in runs[0]] == [(0, 0), (1, 0)]
    assert runs[0][0]["confusion"] == runs[0][1]["confusion"]


def test_whisper_is_read_once_from_the_cache_and_its_upper_block_can_be_opened(data, tmp_path, capsys):
    arguments = ["--backbone", "whisper", "--layers", "1", "--pooling", "mean", "--data", str(data / "data.csv")]
    arguments += ["--only-folds", "0", "--device", "cpu"]
    runs = []
    for name in ("first", "second"):
        output = ["--output", str(tmp_path / name), "--no-export"]
        assert main([*arguments, *output, "--frozen", "--cache", str(tmp_path / "cache")]) == 0
        runs.append(json.loads((tmp_path / name / "results.json").read_text())["runs"])
    assert runs[0] == runs[1] and runs[0][0]["ua"] == 1.0
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 32
    output = ["--output", str(tmp_path / "open"), "--steps", "2", "--batch-size", "4", "--crop-s", "0.4"]
    assert main([*arguments, *output, "--unfreeze", "1", "--layer-decay", "0.5", "--val-share", "0"]) == 0
    encoder, base = load_model(tmp_path / "open").encoder, load_whisper("whisper")
    assert torch.equal(encoder.conv2.weight, base.conv2.weight)
    assert not torch.equal(encoder.layers[0].fc1.weight, base.layers[0].fc1.weight)
    assert torch.equal(encoder.layers[1].fc1.weight, base.layers[1].fc1.weight)  # above the layer that is read
    assert main([*arguments, "--output", str(tmp_path / "none"), "--unfreeze", "2"]) == 2
    assert "--unfreeze 2: whisper is read after 1 blocks; open fewer, or all" in capsys.readouterr().err


def test_linear_classifier_separates_what_is_separable():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 2, generator=generator) * 0.1 + torch.tensor([[5.0, 100.0]])
    labels = [number % 3 for number in range(60)]
    points += torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[labels]
    layer = fit_linear(points, labels, 3)
    assert layer(points).argmax(dim=1).tolist() == labels


def test_summary_pools_folds_and_spreads_over_seeds():
    def fold(seed, counts):
        return {"fraction": 0.1, "seed": seed, "confusion": counts}

    [row] = summarise([fold(0, [[2, 0], [0, 2]]), fold(0, [[2, 0], [2, 0]]), fold(1, [[4, 0], [4, 0]])])
    # Seed 0: recalls 1 and 1/2; seed 1: recalls 1 and 0.
    assert (row["ua_mean"], row["ua_std"]) == (0.625, 0.176777)
    assert row["confusion"] == [[8, 0], [6, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --checkpoint RUN or --backbone NAME"),
        (["--checkpoint", "nowhere"], "nowhere: no such folder"),
        (["--backbone", "resnet18", "--folds", "9"], "4 speakers for 9 speaker-independent folds"),
        (["--backbone", "resnet18", "--labels", "low", "mid"], "line 3: unknown label 'high'; --labels has low"),
        (["--backbone", "resnet18", "--label-fraction", "1.5"], "1.5 is not above 0 and at most 1"),
        (["--backbone", "resnet18", "--only-folds", "7"], "the folds are 0 to 3"),
        (["--backbone", "resnet18", "--only-folds", "0", "0"], "--only-folds 0 0: give 0 once"),
        (["--backbone", "resnet18", "--seeds", "3", "1", "3"], "--seeds 3 1 3: give 3 once"),
        (["--backbone", "resnet18", "--seeds", "-1"], "-1 is not a whole number from 0 to 2147483647"),
        (["--backbone", "resnet18", "--label-fraction", "0.5", "0.50"], "--label-fraction 0.5 0.5: give 0.5 once"),
        (["--backbone", "resnet18", "--labels", "low", "high", "low"], "--labels low high low: give low once"),
        (["--backbone", "resnet18", "--output", __file__], "argument --output: " + __file__ + " is not a folder"),
        (
            ["--backbone", "resnet18", "--cache", __file__ + "/x"],
            "--cache: " + __file__ + " is not a folder",
        ),
        (["--backbone", "resnet18", "--folds", "emobox"], "--folds emobox: known for ravdess alone; give a number"),
        (["--backbone", "resnet18", "--tracker", "wandb"], "--tracker wandb: its package is not installed; pip in"),
    ],
)
def test_bad_input_is_one_line(arguments, message, data, tmp_path, capsys):
    assert main(["--data", str(data / "data.csv"), "--output", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
