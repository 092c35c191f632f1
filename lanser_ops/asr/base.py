"""What a speech recognition backend takes and gives.

A backend is a module (or object) with the functions of `AsrBackend`; an entry point of the group ``lanser.asr`` names
it, and ``--asr-model BACKEND:MODEL`` chooses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.specs import ModelRef, TranscribeSpec

# No recogniser is given more at once; longer recordings are cut before.
MAX_CLIP_S = 30.0


@dataclass(frozen=True)
class Clip:
    """One utterance to recognise: float32 samples at 16 kHz.

    ``language`` is a code such as ``en`` where the input names one. ``speech_probability`` is the highest speech
    probability that the voice activity detector gave any 32 ms of it.
    """

    samples: np.ndarray
    language: str | None = None
    speech_probability: float = 1.0


@dataclass(frozen=True)
class Rejection:
    """Why an utterance is no transcript: ``reason`` is one of `schemas.records.REASONS`."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised in one utterance.

    The numbers are those of `schemas.records.Transcript`. Every backend gives ``avg_logprob`` (natural logarithm, mean
    over tokens): a transcript without it counts as one that came with the input. The others may be None. ``flags`` are
    doubts and ``rejection`` is a verdict, both by the backend, which knows its own numbers.
    """

    text: str
    avg_logprob: float
    language: str | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    flags: tuple[str, ...] = ()
    rejection: Rejection | None = None


class Recognizer(Protocol):
    """A loaded model. ``pool_seconds`` is how much audio it is given at once, to be batched as it likes."""

    pool_seconds: float

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """A hypothesis for each of ``clips`` (each at most 30 s), in their order."""
        ...


class AsrBackend(Protocol):
    """The functions of a backend's module."""

    def resolve(self, name: str) -> ModelRef:
        """The model of that name, its files on this machine. Raises InputError, one line, where there is none."""
        ...

    def language_code(self, name: str) -> str | None:
        """The code under which the backend knows a language given as code, region or English name; None if unknown."""
        ...

    def check(self, spec: TranscribeSpec) -> None:
        """Raise InputError for options that the model of ``spec`` cannot serve, before a job starts."""
        ...

    def load(self, spec: TranscribeSpec, device: str, threads: int) -> Recognizer:
        """Load ``spec.asr_model`` from its path. ``device`` is ``auto``, ``cpu`` or ``cuda``."""
        ...

    def has_gpu(self) -> bool:
        """Whether the backend finds a GPU on this machine, so that ``auto`` means ``cuda``."""
        ...
