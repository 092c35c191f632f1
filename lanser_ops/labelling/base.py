"""What a labeller backend takes and gives.

A backend is a module (or object) with the functions of `LabellerBackend`; an entry point of the group
``lanser.labellers`` names it, and ``--nli-model BACKEND:MODEL`` chooses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import Taxonomy


@dataclass(frozen=True)
class Scores:
    """``entailment``: float32 (premises, hypotheses), each passed through ``round_score``.

    ``truncated``: bool (premises,), whether a premise lost tokens at its end before at least one hypothesis.
    ``pairs_scored``: pairs that went through the model, equal premises counted once.
    """

    entailment: np.ndarray
    truncated: np.ndarray
    pairs_scored: int


class Labeller(Protocol):
    """A loaded model."""

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """A score from 0 to 1 of every hypothesis given every premise; a premise may be empty."""
        ...


# A labeller's `score`, wherever the model lives.
Score = Callable[[Sequence[str], Sequence[str]], Scores]


class LabellerBackend(Protocol):
    """The functions of a backend's module."""

    def resolve(self, name: str) -> ModelRef:
        """The model of that name, its files on this machine. Raises InputError, one line, where there is none."""
        ...

    def scoring(
        self, model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
    ) -> tuple[tuple[str, ...], str]:
        """The templates that are scored and what a score is weighed against, as `LabelSpec` holds them.

        ``templates`` (possibly none) and ``against`` (possibly None) are what the user gave. Raises InputError for what
        the model cannot score, before a job starts; no weights are read.
        """
        ...

    def load(self, spec: LabelSpec, device: str, threads: int | None) -> Labeller:
        """Load ``spec.nli_model`` from its path. ``device`` is ``auto``, ``cpu`` or ``cuda``."""
        ...

    def has_gpu(self) -> bool:
        """Whether the backend finds a GPU on this machine, so that ``auto`` means ``cuda``."""
        ...


def round_score(probability: float) -> float:
    """``probability`` at 6 significant digits, which decimal text and float32 both carry unchanged.

    float32 keeps any decimal of 6 digits (C's FLT_DIG) in its normal range, so a score is the same number
    whether it comes from JSON or from a Parquet float32 column: ``round_score(float32(round_score(p)))``
    equals ``round_score(p)``. Below that range, where digits are lost, the result is 0.

    >>> round_score(0.123456789)
    0.123457
    """
    return float(f"{probability:.6g}") if probability >= 1.2e-38 else 0.0
