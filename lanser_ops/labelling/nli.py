"""The backend ``nli``: P(entailment) of a hypothesis, given a transcript as premise, from an NLI sequence classifier.

Resolving and checking a model is here, and imports nothing heavy; scoring is in `nli_scorer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from lanser_ops import models
from lanser_ops.backends import BUNDLED
from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.model_files import read_config
from lanser_ops.labelling.nli_classes import AGAINST, entailment_index, model_files
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import DEFAULT_TEMPLATE, Taxonomy

if TYPE_CHECKING:
    from lanser_ops.labelling.nli_scorer import NliScorer

BUNDLED_ID = "lanser MiniLM-L6 NLI"


def resolve(name: str) -> ModelRef:
    """The sequence classifier of that name; `scoring` checks whether it predicts entailment."""
    if name == BUNDLED:
        return _bundled()
    advice = "a transformers model directory is needed"
    ref = models.find_model(name, "--nli-model", models.download_snapshot, "config.json", advice)
    bundled = _bundled()
    return replace(ref, id=bundled.id) if ref.sha256 == bundled.sha256 else ref


@lru_cache
def _bundled() -> ModelRef:
    path = str(resources.files("lanser_ops").joinpath("assets", "nli"))
    return ModelRef(BUNDLED_ID, models.content_hash(path), path)


def scoring(
    model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
) -> tuple[Taxonomy, tuple[str, ...], str]:
    """The taxonomy as it is; the given templates, else the taxonomy's, else the default one.

    Raises InputError for a model without NLI's classes and for an unknown ``against``.
    """
    files = model_files(model.path)
    entailment_index(read_config(files).classes, files)
    if against not in (None, *AGAINST):
        raise InputError(f"--against {against}: an NLI model weighs entailment against {' or '.join(AGAINST)}")
    return taxonomy, tuple(templates) or (taxonomy.template or DEFAULT_TEMPLATE,), against or LabelSpec.against


def load(spec: LabelSpec, device: str, threads: int | None) -> NliScorer:
    """Load the classifier of ``spec``; see `nli_scorer.load_scorer`."""
    from lanser_ops.labelling.nli_scorer import load_scorer

    return load_scorer(spec.nli_model.path, resolve_device(device), threads, spec.against)


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"
