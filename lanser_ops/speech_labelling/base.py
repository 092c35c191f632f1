"""The interface of a speech labeller backend.

A backend is a module (or object) with the functions of `SpeechBackend`. An entry point of the group
``lanser.speech_labellers`` registers it, and ``--speech-model BACKEND:MODEL`` selects it. A model is a directory with a
config.json, which LanSER finds and hashes (`lanser_ops.backends.resolve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from schemas.specs import ModelRef


class SpeechLabeller(Protocol):
    """A loaded model; ``pool_seconds`` is how much audio it is given at once, at least one utterance."""

    @property
    def pool_seconds(self) -> float: ...

    def score(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities from 0 to 1, float (clips, classes); each clip is float32 (samples,) at 16 kHz.

        Apart from rounding, the scores of a clip depend on that clip alone.
        """
        ...


class SpeechBackend(Protocol):
    """The functions of a backend's module. Importing it must be cheap: every ``--help`` may do so."""

    def classes(self, model: ModelRef) -> tuple[str, ...]:
        """The names of the model's classes, in the order of its scores.

        Raises InputError, one line, for a directory without such a model; this runs before a job starts and reads no
        weights.
        """
        ...

    def load(self, model: ModelRef, device: str, threads: int | None) -> SpeechLabeller:
        """Load the model from its path. ``device`` is ``auto``, ``cpu`` or ``cuda``."""
        ...

    def has_gpu(self) -> bool:
        """Whether the backend finds a GPU on this machine, so that ``auto`` means ``cuda``."""
        ...
