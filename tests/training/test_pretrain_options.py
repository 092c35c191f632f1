"""Options of `lanser pretrain` that choose samples, labels and objectives, from the command line to the run's files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from training.checkpoints import list_checkpoints
from training.model import EmotionModel, load_model
from training.pretrain import main

TINY = ["--backbone", "resnet10-quarter", "--device", "cpu", "--batch-size", "4", "--crop-s", "0.4", "--in-process"]
GROUPS = """name: mood
version: 2
labels:
  - name: good
    hypotheses: [joy]
  - name: bad
    hypotheses: [anger, sadness]
"""


def command(run, *more):
    return [*TINY, "--output", str(run), "--epochs", "2", *map(str, more)]


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def refused(capsys, arguments):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.fixture(scope="module")
def corpora(make_shards, tmp_path_factory):
    """A corpus of 9 samples with 4 to validate on, and one of 3 samples."""
    folder = tmp_path_factory.mktemp("corpora")
    make_shards(folder / "large", [5, 4])
    make_shards(folder / "large", [4], split="val", first=50)
    make_shards(folder / "small", [3], first=100)
    return folder


def test_a_run_that_diverges_ends_in_one_line(shards, tmp_path, capsys):
    assert main(command(tmp_path / "run", "--shards", shards, "--lr", "1e30")) == 2
    end = "lanser pretrain: the loss is nan: the training has diverged; start another run with a lower --lr\n"
    assert capsys.readouterr().err.endswith(end)
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_reports_ua_and_keeps_the_best_model(shards, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(run, "--shards", shards, "--epochs", 4)) == 0
    validations = [line for line in log_of(run) if "val_loss" in line]
    assert [line["epoch"] for line in validations] == [1, 2, 3, 4]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["last"] == validations[-1]
    best = max(validations, key=lambda line: (line["val_ua"], line["val_macro_f1"], -line["val_loss"]))
    assert metrics["best"] == best
    assert 0 <= best["val_macro_f1"] <= 1 and load_model(run / "best").spec.labels == ("anger", "joy", "sadness")
    same = torch.equal(*(load_file(run / name / "model.safetensors")["head.weight"] for name in ("best", "model")))
    assert same == (best["epoch"] == 4)
    captured = capsys.readouterr()
    assert f"epoch 1: validation UA {100 * validations[0]['val_ua']:.1f} %, macro-F1 " in captured.err
    assert "28 of 28 samples: anger 10, joy 9, sadness 9" in captured.err
    first, second, third = captured.out.splitlines()
    assert first.startswith(f"wrote {run}/model: {validations[-1]['step']} steps; validation UA ")
    assert second.startswith(f"wrote {run}/best: after epoch {best['epoch']}; validation UA ")
    assert third == f"next: lanser finetune --checkpoint {run} --data CSV_OR_CORPUS --output RUN"


def test_groups_and_thresholds(shards, tmp_path, capsys):
    run = tmp_path / "run"
    (tmp_path / "mood.yaml").write_text(GROUPS)
    options = ["--shards", shards, "--map", tmp_path / "mood.yaml", "--min-score", "0.8", "--balance", "1"]
    assert main(command(run, *options)) == 0
    assert load_model(run).spec.labels == ("good", "bad")
    assert "18 of 28 samples: good 9, bad 9" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["map"] == {"good": ["joy"], "bad": ["anger", "sadness"]}
    (tmp_path / "mood.yaml").write_text(GROUPS.replace("anger, sadness", "sadness, anger"))
    assert "cannot continue with other options (map was {" in refused(capsys, command(run, *options, "--resume"))


def test_a_mixture_goes_on_in_mid_epoch(corpora, tmp_path, capsys):
    options = ["--shards", f"{corpora}/large:1", f"{corpora}/small:3", "--epochs", "3"]
    assert main(command(tmp_path / "whole", *options)) == 0
    assert "samples, 75 % of every epoch: anger 1, joy 1, sadness 1" in capsys.readouterr().err
    run = tmp_path / "run"
    assert main(command(run, *options, "--max-steps", "5")) == 0
    assert json.loads((list_checkpoints(run)[-1] / "position.json").read_text())["micro_batch"] > 0
    assert main(command(run, *options, "--resume")) == 0
    names = ("step", "loss", "epoch", "val_loss", "val_ua")
    figures = [[{name: line.get(name) for name in names} for line in log_of(tmp_path / of)] for of in ("whole", "run")]
    assert figures[0] == figures[1]
    assert (tmp_path / "whole" / "metrics.json").read_text() == (run / "metrics.json").read_text()
    capsys.readouterr()
    equal = ["--shards", f"{corpora}/large:1", f"{corpora}/small:1", "--epochs", "3", "--resume"]
    message = refused(capsys, command(run, *equal))
    assert "other options (shares was [0.25, 0.75], now [0.5, 0.5]" in message


def test_auxiliary_targets_are_learned_beside_the_labels(shards, tmp_path):
    run = tmp_path / "run"
    options = ["--shards", shards, "--auxiliary", "pitch", "energy", "--auxiliary-weight", "0.5"]
    assert main(command(run, *options, "--max-steps", "5")) == 0
    assert sorted(path.name for path in (run / "prosody").iterdir()) == ["train.npy", "val.npy"]
    assert main(command(run, *options, "--resume")) == 0
    assert [line["step"] for line in log_of(run) if "loss" in line] == list(range(1, 15))
    state = torch.load(list_checkpoints(run)[-1] / "optimizer.pt", weights_only=True)
    assert state["heads"]["regression.weight"].shape == (2, 128)
    assert "heads" not in " ".join(load_file(run / "model" / "model.safetensors"))
    validations = [line for line in log_of(run) if "val_loss" in line]
    assert all("val_ua" in line for line in validations)


@pytest.mark.parametrize("objective", ["prosody", "masked"])
def test_controls_that_need_no_labels_learn(objective, shards, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--objective", objective, "--epochs", "6", "--no-augment", "--lr", "3e-3"]
    assert main(command(run, "--shards", shards, *options)) == 0
    validations = [line for line in log_of(run) if "val_loss" in line]
    assert validations[-1]["val_loss"] < validations[0]["val_loss"] and "val_ua" not in validations[0]
    assert "epoch 1: validation loss " in capsys.readouterr().err
    assert load_model(run / "best").spec.labels == ("anger", "joy", "sadness")


def test_options_that_do_not_go_together(corpora, make_shards, tmp_path, capsys):
    shards = ["--shards", corpora / "large"]
    message = refused(capsys, command(tmp_path / "run", *shards, "--objective", "masked", "--auxiliary", "pitch"))
    assert "--auxiliary goes with the labels, not with --objective masked; leave one out" in message
    message = refused(capsys, command(tmp_path / "run", *shards, "--auxiliary", "energi"))
    assert (
        "--auxiliary: 'energi' is not one of pitch, pitch_range, energy, speaking_rate; did you mean energy?" in message
    )
    message = refused(capsys, command(tmp_path / "run", *shards, "--precision", "fp16", "--device", "cpu"))
    assert "--precision fp16: needs a GPU; use --precision bf16, or leave it out" in message
    message = refused(capsys, command(tmp_path / "run", *shards, "--map", tmp_path / "none.yaml"))
    assert f"--map {tmp_path}/none.yaml" in message
    make_shards(tmp_path / "other", [2], labels=["x", "y"], taxonomy="other", first=200)
    mixture = ["--shards", f"{corpora}/large:1", f"{tmp_path}/other:1"]
    main(command(tmp_path / "run", *mixture))
    assert "labels x, y of other, but " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def frozen(run, shards, cache, *more):
    options = ["--backbone", "whisper", "--frozen", "--cache", cache, "--shards", shards, "--epochs", "3"]
    options += ["--layers", "weighted"]
    return ["--output", str(run), "--device", "cpu", "--batch-size", "8", *map(str, [*options, *more])]


def test_what_follows_a_frozen_encoder_is_trained_on_stored_features(shards, tmp_path, capsys, monkeypatch):
    cache, run = tmp_path / "cache", tmp_path / "run"
    assert main(frozen(tmp_path / "whole", shards, cache)) == 0
    assert len(list(cache.rglob("*.npy"))) == 32
    assert main(frozen(run, shards, cache, "--max-steps", "6")) == 0
    assert json.loads((list_checkpoints(run)[-1] / "position.json").read_text())["micro_batch"] == 2
    # The second run and this one read the features; neither computes any.
    monkeypatch.setattr(EmotionModel, "encode", lambda *_: pytest.fail("the encoder ran"))
    assert main(frozen(run, shards, cache, "--resume")) == 0
    by_run = [[line["loss"] for line in log_of(tmp_path / name) if "loss" in line] for name in ("whole", "run")]
    assert by_run[0] == by_run[1] and len(by_run[0]) == 12
    monkeypatch.undo()
    trained, fresh = load_model(run), load_model(tmp_path / "whole" / "best")
    state, other = trained.encoder.state_dict(), fresh.encoder.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    assert trained.pooling.layer_logits.abs().max() > 0 and trained.pooling.scale.min() > 0
    capsys.readouterr()
    message = refused(capsys, frozen(tmp_path / "more", shards, cache, "--workers", "2"))
    assert "--frozen trains on features in memory, without loader processes; leave --workers out" in message


def test_pieces_in_a_random_order_change_the_features_of_what_is_trained_on_alone(shards, tmp_path):
    cache = tmp_path / "cache"
    assert main(frozen(tmp_path / "whole", shards, cache)) == 0
    assert main(frozen(tmp_path / "pieces", shards, cache, "--shuffle-pieces", "0.1")) == 0
    stored = len(list(cache.rglob("*.npy")))
    assert 32 + 20 < stored <= 32 + 28  # of 28 clips some few keep their order
    assert main(frozen(tmp_path / "again", shards, cache, "--shuffle-pieces", "0.1")) == 0
    assert len(list(cache.rglob("*.npy"))) == stored


def test_the_masked_control_of_a_frozen_encoder_learns(shards, tmp_path):
    options = ["--objective", "masked", "--hidden", "16", "--epochs", "8", "--lr", "1e-2"]
    assert main(frozen(tmp_path / "run", shards, tmp_path / "cache", *options)) == 0
    losses = [line["val_loss"] for line in log_of(tmp_path / "run") if "val_loss" in line]
    assert min(losses) < losses[0]
