"""The interface of a labeller backend.

A backend is a module (or object) with the functions of `LabellerBackend`. An entry point of the group
``lanser.labellers`` registers it, and ``--nli-model BACKEND:MODEL`` selects it.
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
    """``entailment``: float32 (premises, hypotheses), rounded by `lanser_ops.common.label_scores.round_scores`.

    ``truncated``: bool (premises,), whether a premise lost tokens at its end before at least one hypothesis.
    ``pairs_scored``: model inputs that were computed, equal premises counted once: pairs of premise and hypothesis,
    or premises alone where a single pass of the model scores all hypotheses.
    """

    entailment: np.ndarray
    truncated: np.ndarray
    pairs_scored: int


class Labeller(Protocol):
    """A loaded model."""

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """Score every hypothesis given every premise, from 0 to 1; a premise may be empty.

        A score depends on its premise and its hypothesis alone. Stored scores are shared between taxonomies, so
        hypotheses may come from another taxonomy than the one that the model was loaded for.
        """
        ...


# A labeller's `score`, wherever the model runs.
Score = Callable[[Sequence[str], Sequence[str]], Scores]


class LabellerBackend(Protocol):
    """The functions of a backend's module. Importing it must be cheap: every ``--help`` may do so."""

    def resolve(self, name: str) -> ModelRef:
        """The model of that name, with its files on this machine. Raises InputError, one line, if there is none."""
        ...

    def scoring(
        self, model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
    ) -> tuple[Taxonomy, tuple[str, ...], str]:
        """The taxonomy, templates and ``against`` of the `LabelSpec`.

        ``templates`` (possibly empty) and ``against`` (possibly None) are the user's options. The taxonomy that is
        returned may have other hypotheses than the one given: scores are stored by hypothesis, so a hypothesis must
        mean the same in every taxonomy. Raises InputError for what the model cannot score; this runs before a job
        starts and reads no weights.
        """
        ...

    def load(self, spec: LabelSpec, device: str, threads: int | None) -> Labeller:
        """Load ``spec.nli_model`` from its path. ``device`` is ``auto``, ``cpu`` or ``cuda``."""
        ...

    def has_gpu(self) -> bool:
        """Whether the backend finds a GPU on this machine, so that ``auto`` means ``cuda``."""
        ...
