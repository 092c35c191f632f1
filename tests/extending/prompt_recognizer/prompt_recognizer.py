"""A recogniser of known sentences. A model is a folder with prompts.json: {"Hello.": features of a recording, …}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanser_ops import models
from lanser_ops.asr.base import Clip, Hypothesis
from schemas.specs import ModelRef, TranscribeSpec


def features(samples: np.ndarray) -> np.ndarray:
    """The log spectrum of 16 parts of a recording in 32 bands each, float64 (512,) of unit length."""
    spectra = [np.abs(np.fft.rfft(part, 2048)[:1024]) for part in np.array_split(samples, 16)]
    energies = np.log(np.reshape(spectra, (16 * 32, 32)).mean(axis=1) + 1e-3)
    return (energies - energies.mean()) / np.linalg.norm(energies - energies.mean())


@dataclass(frozen=True)
class PromptRecognizer:
    prompts: dict[str, list[float]]
    pool_seconds: float = 60.0

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        return [self._nearest(features(clip.samples)) for clip in clips]

    def _nearest(self, vector: np.ndarray) -> Hypothesis:
        odds = {text: np.exp(20 * np.dot(prompt, vector)) for text, prompt in self.prompts.items()}
        text = max(odds, key=lambda text: odds[text])
        logprob = float(np.log(odds[text] / sum(odds.values())))
        return Hypothesis(text, logprob, flags=("low_logprob",) if logprob < -1 else ())


def resolve(name: str) -> ModelRef:
    return models.find_model(name, "--asr-model", models.download_snapshot, "prompts.json", "write one")


def language_code(name: str) -> str | None:
    return None  # A model does not know what language its sentences are in, so --language is refused.


def check(spec: TranscribeSpec) -> None:
    """Every option is supported: those of decoding change nothing."""


def load(spec: TranscribeSpec, device: str, threads: int) -> PromptRecognizer:
    return PromptRecognizer(json.loads(Path(spec.asr_model.path, "prompts.json").read_text()))


def has_gpu() -> bool:
    return False
