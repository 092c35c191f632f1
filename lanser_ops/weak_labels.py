"""From stored entailment scores to labels: arithmetic alone, no model.

Source of the rule: Gong et al. 2023, "LanSER: Language-Model Supported Speech Emotion Recognition"
(Interspeech): the label is the argmax over the taxonomy of the entailment probability.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.records import Transcript, WeakLabel
from schemas.taxonomy import Taxonomy


def sentences(taxonomy: Taxonomy, templates: Sequence[str]) -> list[list[str]]:
    """For every template, the hypotheses of the taxonomy's labels in their order."""
    return [[template.replace("{}", label.hypothesis) for label in taxonomy.labels] for template in templates]


def average(scores: dict[str, np.ndarray], hypotheses: Sequence[Sequence[str]]) -> np.ndarray:
    """Mean entailment over templates, float32 (utterances, labels).

    ``scores`` holds a column, float32 (utterances,), for every hypothesis; ``hypotheses`` is (templates,
    labels).
    """
    stacked = np.stack([np.stack([scores[hypothesis] for hypothesis in row], axis=1) for row in hypotheses])
    return stacked[0] if len(stacked) == 1 else round_scores(stacked.mean(axis=0, dtype=np.float64))


def round_scores(values: np.ndarray) -> np.ndarray:
    """Six significant digits as float32, so that a score is the same read back from JSON or Parquet."""
    values = np.asarray(values, dtype=np.float64)
    texts = np.char.mod("%.6g", values)
    return texts.astype(np.float64).astype(np.float32)


def label_utterances(
    transcripts: Sequence[Transcript], entailment: np.ndarray, truncated: np.ndarray, taxonomy: Taxonomy
) -> list[WeakLabel]:
    """The weak label of every transcript: argmax (the first of equals) and its lead over the runner-up.

    ``entailment`` is float32 (utterances, labels), ``truncated`` bool (utterances,).
    """
    if not transcripts:
        return []
    best = entailment.argmax(axis=1)
    ordered = np.sort(entailment, axis=1)
    margins = round_scores(ordered[:, -1].astype(np.float64) - ordered[:, -2])
    return [
        WeakLabel(
            key=transcript.key,
            label=taxonomy.labels[index].name,
            label_index=int(index),
            score=float(scores[index]),
            margin=float(margin),
            entailment=[float(score) for score in scores],
            flags=("premise_truncated",) if cut else (),
        )
        for transcript, scores, index, margin, cut in zip(
            transcripts, entailment, best, margins, truncated, strict=True
        )
    ]
