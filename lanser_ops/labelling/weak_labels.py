"""From stored scores to labels: arithmetic alone, no model.

Source of the rule: Gong et al. 2023, "LanSER: Language-Model Supported Speech Emotion Recognition" (Interspeech): the
label is the argmax over the taxonomy of the entailment probability. Beyond the paper, a prior may be subtracted first
(see `lanser_ops.common.label_scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lanser_ops.common.label_scores import average, corrected, margins
from schemas.records import Transcript, WeakLabel
from schemas.taxonomy import Taxonomy

NO_PRIOR, CORPUS_PRIOR, NULL_PRIOR = PRIORS = ("none", "corpus", "null")
# The flag of a transcript that is longer than the labeller reads; the only flag that labelling sets.
TRUNCATED = "premise_truncated"


def sentences(taxonomy: Taxonomy, templates: Sequence[str]) -> list[list[str]]:
    """For every template, the hypotheses of the taxonomy's labels in their order."""
    return filled([label.hypothesis for label in taxonomy.labels], templates)


def filled(words: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """For every template, the sentences that it makes of ``words``."""
    return [[template.replace("{}", word) for word in words] for template in templates]


def stack(scores: Mapping[str, np.ndarray], hypotheses: Sequence[Sequence[str]]) -> np.ndarray:
    """float32 (templates, utterances, labels) from one column, float32 (utterances,), per hypothesis.

    ``hypotheses`` is (templates, labels), as `sentences` gives it.
    """
    return np.stack([np.stack([scores[hypothesis] for hypothesis in row], axis=1) for row in hypotheses])


def label_utterances(
    transcripts: Sequence[Transcript],
    by_template: np.ndarray,
    truncated: np.ndarray,
    taxonomy: Taxonomy,
    prior: Sequence[float] | None = None,
) -> list[WeakLabel]:
    """The weak label of every transcript: the argmax (the first of equal scores) and its lead over the runner-up.

    ``by_template`` is float32 (templates, utterances, labels), ``truncated`` bool (utterances,). ``score`` and
    ``margin`` are those by which the label was chosen (see `corrected`); ``entailment`` is never corrected.
    """
    if not transcripts:
        return []
    entailment = average(by_template)
    ranked = corrected(entailment, prior)
    best = ranked.argmax(axis=1)
    leads = margins(ranked)
    templates = by_template if len(by_template) > 1 else by_template[:0]
    template_labels = [corrected(scores, prior).argmax(axis=1) for scores in templates]
    return [
        WeakLabel(
            key=transcript.key,
            label=taxonomy.labels[index].name,
            label_index=int(index),
            score=float(ranked[row, index]),
            margin=float(leads[row]),
            entailment=entailment[row].tolist(),
            template_labels=[int(labels[row]) for labels in template_labels],
            template_entailment=templates[:, row].tolist(),
            flags=(TRUNCATED,) if truncated[row] else (),
        )
        for row, (transcript, index) in enumerate(zip(transcripts, best, strict=True))
    ]
