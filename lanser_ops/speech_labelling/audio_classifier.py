"""The backend ``audio-classifier``: audio classification models of the Hugging Face transformers library.

Resolving and checking a model is here, and imports nothing heavy; scoring is in `audio_classifier_scorer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanser_ops.common.device import resolve_device
from lanser_ops.labelling.model_files import ClassifierConfig, ModelFiles, read_config
from schemas.specs import ModelRef

if TYPE_CHECKING:
    from lanser_ops.speech_labelling.audio_classifier_scorer import AudioClassifier

ADVICE = "use an audio classifier with safetensors weights whose classes are emotions"
REGRESSION = "regression"


def classes(model: ModelRef) -> tuple[str, ...]:
    """The class names in config.json. Raises InputError, one line, for a directory without a usable classifier."""
    return _config(model_files(model)).classes


def load(model: ModelRef, device: str, threads: int | None) -> AudioClassifier:
    """Load the classifier from its path; see `audio_classifier_scorer.load_classifier`."""
    from lanser_ops.speech_labelling.audio_classifier_scorer import load_classifier

    files = model_files(model)
    return load_classifier(files, _config(files), resolve_device(device), threads)


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"


def model_files(model: ModelRef) -> ModelFiles:
    """The model's directory as an audio classifier, for error messages."""
    return ModelFiles(model.path, "audio classifier", ADVICE)


def _config(files: ModelFiles) -> ClassifierConfig:
    config = read_config(files)
    if config.problem_type == REGRESSION:
        raise files.error("predicts numbers, not classes")
    return config
