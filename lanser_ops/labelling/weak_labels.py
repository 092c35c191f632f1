"""From stored scores to labels: arithmetic alone, no model.

Source of the rule: Gong et al. 2023, "LanSER: Language-Model Supported Speech Emotion Recognition" (Interspeech): the
label is the argmax over the taxonomy of the entailment probability. Beyond the paper, a prior may be subtracted first
(see `lanser_ops.common.label_scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from lanser_ops.common.label_scores import aggregated, average, corrected, margins
from schemas.records import Transcript, WeakLabel
from schemas.specs import LabelSpec
from schemas.taxonomy import Taxonomy

# The flags that labelling sets: of a transcript that is longer than the labeller reads, and of one without any score
# above 0, which only a file of labels leaves.
TRUNCATED, NO_LABEL = "premise_truncated", "no_label"


def sentences(taxonomy: Taxonomy, templates: Sequence[str]) -> list[list[str]]:
    """For every template, the sentences of the taxonomy's hypotheses in their order."""
    return filled(taxonomy.hypotheses, templates)


def filled(words: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """For every template, the sentences that it makes of ``words``."""
    return [[template.replace("{}", word) for word in words] for template in templates]


def hypothesis_count(section: Mapping[str, Any]) -> int:
    """How many hypotheses each text is scored for, by a label section of dataset.json; 0 with labels from a file."""
    if "label_source" in section:
        return 0
    words = [word for label in section["taxonomy"] for word in label["hypotheses"]]
    return len(set(chain(*filled(words, section["templates"]))))


def stack(scores: Mapping[str, np.ndarray], hypotheses: Sequence[Sequence[str]]) -> np.ndarray:
    """float32 (templates, utterances, hypotheses) from one column, float32 (utterances,), per sentence.

    ``hypotheses`` is (templates, hypotheses), as `sentences` gives it.
    """
    return np.stack([np.stack([scores[hypothesis] for hypothesis in row], axis=1) for row in hypotheses])


def of_labels(by_hypothesis: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """float32 (templates, utterances, labels) of stored scores, float32 (templates, utterances, hypotheses)."""
    return aggregated(by_hypothesis, taxonomy.label_of, len(taxonomy.labels), taxonomy.aggregate)


def ranked_scores(entailment: np.ndarray, spec: LabelSpec, prior: Sequence[float] | None) -> np.ndarray:
    """The scores that the labels of ``spec`` are ranked by, float32 (utterances, labels): see `corrected`."""
    return corrected(
        entailment, prior, spec.prior_strength, spec.taxonomy.absence, spec.neutral_threshold, spec.temperature
    )


def label_utterances(
    transcripts: Sequence[Transcript],
    by_hypothesis: np.ndarray,
    truncated: np.ndarray,
    spec: LabelSpec,
    prior: Sequence[float] | None = None,
) -> list[WeakLabel]:
    """The weak label of every transcript: the argmax (the first of equal scores) and its lead over the runner-up.

    ``by_hypothesis`` is float32 (templates, utterances, hypotheses), ``truncated`` bool (utterances,). ``score`` and
    ``margin`` are those by which the label was chosen (see `ranked_scores`); ``entailment`` is never corrected.
    """
    if not transcripts:
        return []
    by_template = of_labels(by_hypothesis, spec.taxonomy)
    entailment = average(by_template)
    # A temperature never changes a label, not even where rounded scores are equal at one and differ at another.
    untempered = replace(spec, temperature=LabelSpec.temperature)
    ranked = ranked_scores(entailment, untempered, prior)
    best = ranked.argmax(axis=1)
    if spec != untempered:
        ranked = ranked_scores(entailment, spec, prior)
    leads = margins(ranked)
    templates = by_template if len(by_template) > 1 else by_template[:0]
    template_labels = [ranked_scores(scores, untempered, prior).argmax(axis=1) for scores in templates]
    # Where every label has one hypothesis, its scores are those of the labels.
    hypothesis_scores = by_hypothesis if spec.taxonomy.label_of != tuple(range(entailment.shape[1])) else templates[:0]
    return [
        WeakLabel(
            key=transcript.key,
            label=spec.taxonomy.labels[index].name,
            label_index=int(index),
            score=float(ranked[row, index]),
            margin=float(leads[row]),
            entailment=entailment[row].tolist(),
            template_labels=[int(labels[row]) for labels in template_labels],
            template_entailment=templates[:, row].tolist(),
            flags=_flags(bool(truncated[row]), has_label=spec.label_source is None or bool(entailment[row].any())),
            hypothesis_scores=hypothesis_scores[:, row].tolist(),
        )
        for row, (transcript, index) in enumerate(zip(transcripts, best, strict=True))
    ]


def _flags(is_truncated: bool, has_label: bool) -> tuple[str, ...]:
    return (*((TRUNCATED,) if is_truncated else ()), *(() if has_label else (NO_LABEL,)))
