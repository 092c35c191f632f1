"""Labels of plain texts, without audio, shards or an output directory: for `lanser try` and `lanser agreement`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from lanser_ops.backends import LABELLERS, backend_of
from lanser_ops.common.label_scores import average, log_prior
from lanser_ops.labelling import weak_labels
from schemas.specs import LabelSpec

# Texts scored between two updates of the progress bar.
STEP = 256


@dataclass(frozen=True)
class TextScores:
    """``by_template``: float32 (templates, texts, labels); ``null``: the same for the empty text alone.

    ``truncated``: bool (texts,), which texts are longer than the model reads.
    """

    by_template: np.ndarray
    null: np.ndarray
    truncated: np.ndarray

    def of_template(self, index: int) -> TextScores:
        """The scores of that template alone."""
        return TextScores(self.by_template[index : index + 1], self.null[index : index + 1], self.truncated)

    def prior(self, kind: str) -> tuple[float, ...] | None:
        """The mean log scores that a prior of that kind subtracts; the corpus is these texts."""
        if kind == weak_labels.NO_PRIOR:
            return None
        return log_prior(average(self.null if kind == weak_labels.NULL_PRIOR else self.by_template))


def score_texts(texts: Sequence[str], model_name: str, spec: LabelSpec, device: str, threads: int | None) -> TextScores:
    """Score every text for every sentence of ``spec``, equal texts once, with a progress bar on a terminal.

    ``model_name`` is ``[BACKEND:]MODEL``, as --nli-model takes it.
    """
    labeller = backend_of(LABELLERS, model_name).load(spec, device, threads)
    sentences = weak_labels.sentences(spec.taxonomy, spec.templates)
    hypotheses = sorted({sentence for row in sentences for sentence in row})
    unique = ["", *dict.fromkeys(text for text in texts if text)]
    steps = range(0, len(unique), STEP)
    console = Console(file=sys.stderr)
    quiet = not console.is_terminal or len(unique) <= STEP
    parts = [
        labeller.score(unique[first : first + STEP], hypotheses)
        for first in track(steps, "scoring", console=console, disable=quiet, transient=True)
    ]
    entailment = np.concatenate([part.entailment for part in parts])
    truncated = np.concatenate([part.truncated for part in parts])
    columns = {hypothesis: entailment[:, column] for column, hypothesis in enumerate(hypotheses)}
    stacked = weak_labels.stack(columns, sentences)
    row_of = {text: row for row, text in enumerate(unique)}
    rows = [row_of[text] for text in texts]
    return TextScores(stacked[:, rows], stacked[:, :1], truncated[rows])
