"""The backend lanser of --speech-model: a model of `lanser finetune` scores the audio of a build."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef
from training import speech_labeller
from training.classifier import probabilities
from training.finetune import main as finetune
from training.model import load_model, new_model, save_model


def tone(number: int, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(number).normal(0, 0.01, len(t))
    return (0.2 * np.sin(2 * np.pi * (200, 2000)[number % 2] * t) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of low and high tones, which are called happy and angry."""
    folder = tmp_path_factory.mktemp("voices")
    lines = ["path,label,speaker"]
    for number in range(16):
        soundfile.write(folder / f"{number}.wav", tone(number, 0.6), 16_000)
        lines.append(f"{number}.wav,{('happy', 'angry')[number % 2]},speaker-{number // 4}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--backbone", "resnet10-quarter", "--data", folder / "data.csv", "--output", folder / "run"]
    options = ["--device", "cpu", "--steps", 30, "--batch-size", 8, "--crop-s", 0.4, "--lr", 0.003, "--folds", 2]
    assert finetune([*map(str, arguments), *map(str, options)]) == 0
    return folder / "run" / "model"


def test_scores_are_the_probabilities_of_the_labels(finetuned: Path):
    ref = ModelRef("lanser:model", "", str(finetuned))
    assert speech_labeller.classes(ref) == ("angry", "happy")
    scorer = speech_labeller.load(ref, "cpu", 1)
    clips = [tone(number, 0.4 + 0.1 * number) for number in range(4)]
    scores = scorer.score(clips)
    assert scores.argmax(axis=1).tolist() == [1, 0, 1, 0]
    alone = [probabilities(load_model(finetuned), [clip])[0].tolist() for clip in clips]
    assert scores == pytest.approx(np.array(alone), abs=1e-4)


def test_a_finetuned_model_scores_the_audio_of_an_output(finetuned: Path, built: Path, tmp_path: Path, lanser):
    output = Path(shutil.copytree(built, tmp_path / "out"))
    options = ("--speech-model", f"lanser:{finetuned}", "--threads", 1)
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", *options, "--overwrite")
    assert done.returncode == 0, done.stderr
    tars = sorted((output / "shards" / "ekman").glob("*.tar"))
    samples = []
    for path in tars:
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if name.endswith(".json")]
            samples += [json.loads(archive.extractfile(name).read()) for name in names]
    assert len(samples) == 10
    assert {(sample["speech_model"], *sample["speech_labels"]) for sample in samples} == {
        ("lanser:model", "angry", "happy")
    }
    assert all(sum(sample["speech_scores"]) == pytest.approx(1, abs=1e-5) for sample in samples)


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"labels": "happy"}', '{"labels": [1, 2]}'])
def test_a_directory_that_lanser_did_not_write_is_refused_in_one_line(tmp_path: Path, config: str):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError) as refused:
        speech_labeller.classes(ModelRef("lanser:m", "", str(tmp_path)))
    assert str(refused.value).startswith("--speech-model lanser:m: not a model of lanser (")
    assert str(refused.value).endswith("; give RUN/model of lanser finetune")


def test_corrupt_weights_are_refused_in_one_line(tmp_path: Path):
    save_model(new_model("resnet10-quarter", "tiny", ("happy", "angry")), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="model.safetensors: the weights cannot be read"):
        speech_labeller.load(ModelRef("lanser:m", "", str(tmp_path)), "cpu", 1)
