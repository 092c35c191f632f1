from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.checkpoints import list_checkpoints
from training.model import load_model
from training.pretrain import main

ROOT = Path(__file__).parents[2]
TINY = [
    "--backbone", "resnet10-half", "--device", "cpu", "--batch-size", "4", "--crop-s", "0.4", "--accumulate", "2",
    "--labels", "soft", "--prior-strength", "1", "--margin-weighting", "--buffer", "5", "--checkpoint-every", "2",
]  # fmt: skip


def command(shards, output, *more):
    return ["--shards", str(shards), "--output", str(output), *TINY, *map(str, more)]


def losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "training.pretrain", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def logged(run):
    path = run / "log.jsonl"
    return path.read_text().count('"loss"') if path.exists() else 0


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """A run of 5 epochs that nothing interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main(command(shards, run, "--epochs", 5, "--workers", 2)) == 0
    return run


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(how, whole, shards, tmp_path):
    run = tmp_path / "run"
    arguments = command(shards, run, "--epochs", 5, "--workers", 2)
    process = start(arguments)
    wait_for(lambda: logged(run) >= 5)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    done = logged(run)
    assert 5 <= done < len(losses(whole))
    last = int(list_checkpoints(run)[-1].name[5:])
    if how == signal.SIGTERM:
        assert process.returncode == 143 and f"stopped at step {last}, checkpoint written" in stderr
        assert last == done
    else:
        assert process.returncode == -signal.SIGKILL
        assert 0 < last <= done
    assert main([*arguments, "--resume"]) == 0
    assert losses(run) == losses(whole)
    expected, resumed = (load_file(folder / "model" / "model.safetensors") for folder in (whole, run))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_run_stops_in_mid_epoch_at_max_steps_and_goes_on(whole, shards, tmp_path):
    run = tmp_path / "run"
    arguments = command(shards, run, "--epochs", 5, "--workers", 2)
    assert main([*arguments, "--max-steps", "2"]) == 0
    position = json.loads((list_checkpoints(run)[-1] / "position.json").read_text())
    assert position == {"step": 2, "epoch": 0, "micro_batch": 4}
    assert not (run / "model").exists()
    assert main([*arguments, "--max-steps", "6", "--resume"]) == 0
    assert losses(run) == losses(whole)[:6]


def test_a_run_learns_and_leaves_what_it_says(whole):
    by_step = losses(whole)
    assert [step for step, _ in by_step] == list(range(1, len(by_step) + 1))
    assert sum(loss for _, loss in by_step[-4:]) < sum(loss for _, loss in by_step[:4])
    assert [path.name for path in sorted(whole.iterdir())] == [
        "best", "checkpoints", "log.jsonl", "metrics.json", "model", "run.json", "tensorboard",
    ]  # fmt: skip
    assert len(list_checkpoints(whole)) == 2
    assert any(os.scandir(whole / "tensorboard"))


def test_audio_that_does_not_decode_is_listed(tmp_path, make_shards, capsys):
    make_shards(tmp_path / "shards", [8], broken={3})
    assert main(command(tmp_path / "shards", tmp_path / "run", "--epochs", 1, "--in-process")) == 0
    assert f"cannot be decoded, left out: {3:016x}: " in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "undecodable" in line]) == 1


def refused(capsys, arguments):
    assert main(arguments) == 2
    [message] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lanser ")]
    return message


def test_bad_input_is_one_line(shards, whole, tmp_path, make_shards, capsys):
    assert "--shards" in refused(capsys, ["--output", str(tmp_path)])
    assert "no shards (.tar); give the output of lanser build" in refused(capsys, command(tmp_path, tmp_path / "a"))
    message = refused(capsys, command(shards, tmp_path / "a", "--workers", 9))
    assert "5 shards for 9 readers" in message and "--workers 5" in message
    make_shards(tmp_path / "other", [2], labels=["x", "y"], taxonomy="other", first=200)
    mixed = command(shards, tmp_path / "a", "--shards", shards, tmp_path / "other")
    assert "give the shards of one taxonomy" in refused(capsys, mixed)
    assert "holds a run; continue it with --resume" in refused(capsys, command(shards, whole, "--epochs", 5))
    message = refused(capsys, command(shards, whole, "--epochs", 5, "--workers", 2, "--seed", 7, "--resume"))
    assert "cannot continue with other options (seed was 0, now 7)" in message
    assert not (tmp_path / "a").exists()


def test_validation_shards_of_other_labels_are_refused(shards, tmp_path, make_shards, capsys):
    make_shards(tmp_path / "other", [2], labels=["x", "y"], taxonomy="other", first=200, split="val")
    arguments = command(shards / "train-*.tar", tmp_path / "run")
    message = refused(capsys, [*arguments, "--shards", str(shards / "train-*.tar"), str(tmp_path / "other")])
    assert "taxonomy other, but the training shards have tiny; give training and validation shards of one" in message
    make_shards(tmp_path / "corpus", [2], prior="corpus", first=300)
    message = refused(capsys, [*arguments, "--shards", str(shards), str(tmp_path / "corpus")])
    assert "labelled with --prior corpus --prior-strength 1, but" in message
    assert message.rstrip().endswith("with --prior none --prior-strength 0; relabel the shards with the same options")
    validation = make_shards(tmp_path / "halved", [2], prior="corpus", prior_strength=0.5, split="val", first=300)
    message = refused(capsys, [*arguments, "--shards", str(tmp_path / "corpus"), str(validation)])
    assert (
        "scoring --prior corpus --prior-strength 0.5, but the training shards have --prior corpus --prior-s" in message
    )
    assert not (tmp_path / "run").exists()


def test_soft_labels_of_shards_with_a_corpus_prior_are_corrected(tmp_path, make_shards):
    """The tones' entailment is the same in both; only the field prior differs."""
    for prior in ("none", "corpus"):
        make_shards(tmp_path / prior, [8], prior=prior)
    options = ["--backbone", "resnet10-quarter", "--device", "cpu", "--batch-size", "4", "--crop-s", "0.4"]
    options += ["--epochs", "1", "--in-process", "--no-augment", "--labels", "soft"]
    runs = {"none": ("none",), "asked": ("none", "--prior-strength", "1"), "corpus": ("corpus",)}
    for name, (prior, *more) in runs.items():
        shards = ["--shards", str(tmp_path / prior), "--output", str(tmp_path / f"run-{name}")]
        assert main([*shards, *options, *more]) == 0
    by_run = {name: losses(tmp_path / f"run-{name}") for name in runs}
    assert by_run["corpus"] == by_run["asked"] != by_run["none"]


class Executed:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_that_cannot_be_read(shards, tmp_path, capsys):
    arguments = command(shards, tmp_path / "run", "--epochs", 1, "--in-process")
    assert main([*arguments, "--max-steps", "1"]) == 0
    [checkpoint] = list_checkpoints(tmp_path / "run")
    weights = (checkpoint / "model.safetensors").read_bytes()
    capsys.readouterr()
    (checkpoint / "model.safetensors").write_bytes(weights[:-100])
    message = refused(capsys, [*arguments, "--resume"])
    assert f"{checkpoint}: not a complete checkpoint (Error while deserializing header" in message
    (checkpoint / "model.safetensors").write_bytes(weights)
    canary = tmp_path / "executed"
    saved = io.BytesIO()
    torch.save(Executed(str(canary)), saved)
    for damage in (b"cut off", b"", pickle.dumps(Executed(str(canary))), saved.getvalue()):
        (checkpoint / "optimizer.pt").write_bytes(damage)
        assert "not a complete checkpoint" in refused(capsys, [*arguments, "--resume"])
    assert not canary.exists()
    (tmp_path / "run" / "run.json").write_text('{"seed": 0,')
    assert "run.json: cannot be read" in refused(capsys, [*arguments, "--resume"])


def test_audio_is_filtered_to_the_band_of_the_shards_where_that_is_asked_for(tmp_path, make_shards):
    def hum(number, seconds):
        return (0.2 * np.sin(2 * np.pi * 3000 * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)

    make_shards(tmp_path / "shards", [4], sound=hum)
    options = ["--shards", str(tmp_path / "shards"), "--backbone", "resnet10-quarter", "--device", "cpu"]
    options += ["--batch-size", "4", "--crop-s", "0.4", "--epochs", "1", "--in-process"]
    bands = {}
    for name, more in {"default": [], "corpus": ["--band", "corpus"]}.items():
        assert main([*options, *more, "--output", str(tmp_path / name)]) == 0
        bands[name] = load_model(str(tmp_path / name)).spec.band_hz
    assert bands["default"] is None
    assert bands["corpus"] == pytest.approx(3000, abs=200)
