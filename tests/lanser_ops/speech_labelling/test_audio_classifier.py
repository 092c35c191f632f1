"""The backend audio-classifier: what it loads, what it refuses, and what its scores depend on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from lanser_ops.backends import SPEECH, backend_of, resolve
from lanser_ops.common.errors import InputError
from lanser_ops.speech_labelling import audio_classifier
from lanser_ops.speech_labelling.audio_classifier_scorer import AudioClassifier
from schemas.specs import ModelRef


def clips_of(*seconds: float) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.normal(0, 0.1, round(16_000 * duration)).astype(np.float32) for duration in seconds]


def load(path: Path) -> AudioClassifier:
    return audio_classifier.load(ModelRef("m", "", str(path)), "cpu", 2)


def test_a_directory_is_a_model_of_the_default_backend(model: Path):
    ref = resolve(SPEECH, str(model))
    assert (ref.id, ref.path, len(ref.sha256)) == ("model", str(model), 64)
    assert backend_of(SPEECH, str(model)).classes(ref) == ("happy", "angry", "calm")


def test_scores_are_those_of_transformers_own_classes(model: Path):
    (clip,) = clips_of(1.3)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(model)
    network = transformers.AutoModelForAudioClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        logits = network(**extractor(clip, sampling_rate=16_000, return_tensors="pt")).logits
    scores = load(model).score([clip])
    assert scores.shape == (1, 3)
    assert scores[0].tolist() == pytest.approx(torch.softmax(logits[0].double(), 0).tolist(), abs=1e-5)
    assert np.ptp(scores) > 0.01


def test_a_padded_batch_gives_the_scores_of_single_clips(model: Path):
    clips = clips_of(0.5, 1.0, 0.02, 0.5, 2.0)
    classifier = load(model)
    assert classifier.mixes_lengths
    alone = np.concatenate([classifier.score([clip]) for clip in clips])
    batches = replace(classifier, batch_seconds=10.0)
    assert [len(batch) for batch in batches._batches([len(clip) for clip in clips])] == [5]
    assert batches.score(clips) == pytest.approx(alone, abs=1e-4)
    assert classifier.score(clips).tolist() == alone.tolist()


def test_a_model_that_sees_padding_gets_batches_of_equal_lengths(
    write_audio_classifier: Callable[..., Path], tmp_path: Path
):
    path = write_audio_classifier(tmp_path / "group", ("happy", "sad"), feat_extract_norm="group")
    classifier = replace(load(path), batch_seconds=10.0)
    clips = clips_of(0.5, 1.0, 0.5, 0.7)
    assert list(classifier._batches([len(clip) for clip in clips])) == [[1], [3], [0, 2]]
    alone = np.concatenate([classifier.score([clip]) for clip in clips])
    assert classifier.score(clips) == pytest.approx(alone, abs=1e-4)


def test_independent_classes_have_probabilities_of_their_own(
    write_audio_classifier: Callable[..., Path], tmp_path: Path
):
    path = write_audio_classifier(tmp_path / "multi", ("happy", "sad"), problem_type="multi_label_classification")
    (scores,) = load(path).score(clips_of(1.0))
    assert abs(scores.sum() - 1) > 0.001


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_extractor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def with_config(**changed: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changed))

    return change


def cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def at_8_khz(folder: Path) -> None:
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(config | {"sampling_rate": 8000}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_weights, "has no safetensors weights, and a pickle"),
        (with_config(id2label={"a": "happy"}), "has a config.json that cannot be read"),
        (with_config(problem_type="regression"), "predicts numbers, not classes"),
        (with_config(num_hidden_layers=3), "has no weights for wav2vec2.encoder.layers.2."),
        (without_extractor, "cannot be loaded ("),
        (cut_off, "cannot be loaded ("),
        (at_8_khz, "takes 8000 Hz, not 16000"),
    ],
)
def test_a_broken_directory_is_refused_in_one_line(model: Path, tmp_path: Path, damage, reason: str):
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    damage(folder)
    with pytest.raises(InputError) as refused:
        load(folder)
    assert str(refused.value).startswith(f"audio classifier '{folder}' {reason}")
    assert len(str(refused.value).splitlines()) == 1
