"""From stored entailment scores to labels: arithmetic alone, no model.

Source of the rule: Gong et al. 2023, "LanSER: Language-Model Supported Speech Emotion Recognition"
(Interspeech): the label is the argmax over the taxonomy of the entailment probability.

Beyond the paper, a prior may be taken off first, since NLI models favour some words whatever was said: what
a label scores on average over the corpus, or on a premise without content (Zhao et al. 2021, "Calibrate
Before Use", arXiv:2102.09690, does this to language models).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from schemas.records import Transcript, WeakLabel
from schemas.taxonomy import Taxonomy

NO_PRIOR, CORPUS_PRIOR, NULL_PRIOR = PRIORS = ("none", "corpus", "null")
# Scores have six significant digits and no use for more: under a millionth, how firmly a label is denied is
# noise that a logarithm would blow up. It also keeps out log(0).
SCORE_FLOOR = 1e-6
# The flag of a transcript that is longer than the labeller reads; the only one that labelling sets.
TRUNCATED = "premise_truncated"


def sentences(taxonomy: Taxonomy, templates: Sequence[str]) -> list[list[str]]:
    """For every template, the hypotheses of the taxonomy's labels in their order."""
    return filled([label.hypothesis for label in taxonomy.labels], templates)


def filled(words: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """For every template, the sentences that ``words`` make of it."""
    return [[template.replace("{}", word) for word in words] for template in templates]


def stack(scores: dict[str, np.ndarray], hypotheses: Sequence[Sequence[str]]) -> np.ndarray:
    """float32 (templates, utterances, labels) from a column, float32 (utterances,), a hypothesis.

    ``hypotheses`` is (templates, labels), as `sentences` gives it.
    """
    return np.stack([np.stack([scores[hypothesis] for hypothesis in row], axis=1) for row in hypotheses])


def average(stacked: np.ndarray) -> np.ndarray:
    """Mean entailment over templates, float32 (utterances, labels), of what `stack` gives."""
    return stacked[0] if len(stacked) == 1 else round_scores(stacked.mean(axis=0, dtype=np.float64))


def round_scores(values: np.ndarray) -> np.ndarray:
    """Six significant digits as float32, so that a score is the same read back from JSON or Parquet."""
    values = np.asarray(values, dtype=np.float64)
    texts = np.char.mod("%.6g", values)
    return texts.astype(np.float64).astype(np.float32)


def log_scores(entailment: np.ndarray) -> np.ndarray:
    """log of ``entailment``, float64 of the same shape, none below log(SCORE_FLOOR)."""
    return np.log(np.maximum(entailment.astype(np.float64), SCORE_FLOOR))


def log_sums(entailment: np.ndarray) -> tuple[int, tuple[float, ...]]:
    """(utterances, sum of log scores of every label) of ``entailment``, float32 (utterances, labels)."""
    return len(entailment), tuple(math.fsum(column) for column in log_scores(entailment).T)


def mean_log_scores(parts: Iterable[tuple[int, int, tuple[float, ...]]]) -> tuple[float, ...]:
    """A prior: the mean log score of every label, from (unit, utterances, sums of log scores) in any order.

    Zeros, which correct nothing, where there are no utterances.
    """
    parts = sorted(parts)
    utterances = sum(count for _, count, _ in parts)
    columns = zip(*(sums for _, _, sums in parts), strict=True)
    return tuple(math.fsum(column) / max(1, utterances) for column in columns)


def corrected(entailment: np.ndarray, prior: Sequence[float] | None) -> np.ndarray:
    """What labels are ranked by, float32 (utterances, labels): exp(log s - prior), normalised over the labels.

    ``prior`` is a log score a label; None leaves ``entailment`` as it is.
    """
    if prior is None:
        return entailment
    lead = log_scores(entailment) - np.asarray(prior, dtype=np.float64)
    odds = np.exp(lead - lead.max(axis=1, keepdims=True))
    return round_scores(odds / odds.sum(axis=1, keepdims=True))


def margins(ranked: np.ndarray) -> np.ndarray:
    """Each row's lead of the best label over the runner-up, float32 (rows,); ``ranked`` is (rows, labels)."""
    ordered = np.sort(ranked, axis=1)
    return round_scores(ordered[:, -1].astype(np.float64) - ordered[:, -2])


def label_utterances(
    transcripts: Sequence[Transcript],
    by_template: np.ndarray,
    truncated: np.ndarray,
    taxonomy: Taxonomy,
    prior: Sequence[float] | None = None,
) -> list[WeakLabel]:
    """The weak label of every transcript: argmax (the first of equals) and its lead over the runner-up.

    ``by_template`` is float32 (templates, utterances, labels), ``truncated`` bool (utterances,). Score and
    margin are those that the label was picked by (see `corrected`); ``entailment`` never is corrected.
    """
    if not transcripts:
        return []
    entailment = average(by_template)
    ranked = corrected(entailment, prior)
    best = ranked.argmax(axis=1)
    leads = margins(ranked)
    several = by_template if len(by_template) > 1 else by_template[:0]
    alone = [corrected(one, prior).argmax(axis=1) for one in several]
    return [
        WeakLabel(
            key=transcript.key,
            label=taxonomy.labels[index].name,
            label_index=int(index),
            score=float(ranked[row, index]),
            margin=float(leads[row]),
            entailment=entailment[row].tolist(),
            template_labels=[int(picks[row]) for picks in alone],
            template_entailment=several[:, row].tolist(),
            flags=(TRUNCATED,) if truncated[row] else (),
        )
        for row, (transcript, index) in enumerate(zip(transcripts, best, strict=True))
    ]
