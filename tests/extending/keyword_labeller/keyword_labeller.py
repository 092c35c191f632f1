"""A labeller that counts emotion words. A model is a folder with lexicon.json: {"happy": ["love", "thank"], …}."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanser_ops import models
from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import round_scores
from lanser_ops.labelling.base import Scores
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import Taxonomy


@dataclass(frozen=True)
class KeywordLabeller:
    lexicon: dict[str, list[str]]

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        shares = np.empty((len(premises), len(hypotheses)))
        for row, premise in enumerate(premises):
            words = re.findall(r"\w+", premise.lower())
            counts = [sum(word in self.lexicon.get(emotion, ()) for word in words) for emotion in hypotheses]
            shares[row] = (np.array(counts) + 1) / (len(words) + len(self.lexicon))
        return Scores(round_scores(shares), truncated=np.zeros(len(premises), bool), pairs_scored=len(premises))


def resolve(name: str) -> ModelRef:
    return models.find_model(name, "--nli-model", models.download_snapshot, "lexicon.json", "write one")


def scoring(
    model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
) -> tuple[Taxonomy, tuple[str, ...], str]:
    missing = set(taxonomy.hypotheses) - _lexicon(model).keys()
    if missing:
        raise InputError(f"--nli-model {model.id}: its lexicon has no entry for {', '.join(sorted(missing))}; add one")
    return taxonomy, ("{}",), "words"  # The hypothesis is the emotion itself, not a sentence.


def load(spec: LabelSpec, device: str, threads: int | None) -> KeywordLabeller:
    return KeywordLabeller(_lexicon(spec.nli_model))


def has_gpu() -> bool:
    return False


def _lexicon(model: ModelRef) -> dict[str, list[str]]:
    return json.loads(Path(model.path, "lexicon.json").read_text())
