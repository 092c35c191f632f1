"""The interface of a speech recognition backend.

A backend is a module (or object) with the functions of `AsrBackend`. An entry point of the group ``lanser.asr`` names
it, and ``--asr-model BACKEND:MODEL`` selects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.specs import ModelRef, TranscribeSpec

# Longer recordings are cut before they are recognised.
MAX_CLIP_S = 30.0


@dataclass(frozen=True)
class Clip:
    """One utterance to recognise: float32 samples at 16 kHz.

    ``language`` is what the input states, a code such as ``en`` or a name; None if it states none.
    ``speech_probability`` is the highest that the voice activity detector gave any 32 ms of it.
    """

    samples: np.ndarray
    language: str | None = None
    speech_probability: float = 1.0


@dataclass(frozen=True)
class Rejection:
    """Why an utterance has no transcript: ``reason`` is one of `schemas.records.REASONS`."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised in one utterance.

    The numbers are those of `schemas.records.Transcript`. ``avg_logprob`` (natural logarithm, mean over tokens) is
    required, because a transcript without it counts as one that came with the input; the others may be None. The
    backend, which knows what its numbers mean, states doubts as ``flags`` and refuses an utterance by ``rejection``.
    """

    text: str
    avg_logprob: float
    language: str | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    flags: tuple[str, ...] = ()
    rejection: Rejection | None = None


class Recognizer(Protocol):
    """A loaded model. ``pool_seconds`` is how much audio one call of ``recognize`` gets, to batch as it sees fit."""

    @property
    def pool_seconds(self) -> float: ...

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """A hypothesis for each of ``clips`` (each at most 30 s), in their order."""
        ...


class AsrBackend(Protocol):
    """The functions of a backend's module."""

    def resolve(self, name: str) -> ModelRef:
        """The model of that name, with its files on this machine. Raises InputError, one line, if there is none."""
        ...

    def language_code(self, name: str) -> str | None:
        """The backend's code for a language given as a code, with or without a region, or by name; None if unknown."""
        ...

    def check(self, spec: TranscribeSpec) -> None:
        """Raise InputError, before a job starts, for options that the model of ``spec`` does not support."""
        ...

    def load(self, spec: TranscribeSpec, device: str, threads: int) -> Recognizer:
        """Load ``spec.asr_model`` from its path. ``device`` is ``auto``, ``cpu`` or ``cuda``."""
        ...

    def has_gpu(self) -> bool:
        """Whether the backend finds a GPU on this machine, so that ``auto`` means ``cuda``."""
        ...
