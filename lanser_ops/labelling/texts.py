"""Labels of plain texts, without audio, shards or an output directory: for `lanser try` and `lanser agreement`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops.backends import LABELLERS, backend_of
from lanser_ops.common.label_scores import average, log_prior
from lanser_ops.common.progress import tracked
from lanser_ops.labelling import weak_labels
from lanser_ops.labelling.context import score_in_context
from schemas.specs import NO_PRIOR, NULL_PRIOR, LabelSpec

# Texts scored between two updates of the progress bar.
STEP = 256


@dataclass(frozen=True)
class TextScores:
    """Scores of labels, float32 (templates, texts, labels), and which texts are too long for the model, bool (texts,).

    ``null`` has the scores of the empty text, ``corpus`` those of the texts whose mean is the corpus prior.
    """

    by_template: np.ndarray
    null: np.ndarray
    corpus: np.ndarray
    truncated: np.ndarray

    def of_template(self, index: int) -> TextScores:
        """The scores of that template alone."""
        alone = slice(index, index + 1)
        return TextScores(self.by_template[alone], self.null[alone], self.corpus[alone], self.truncated)

    def ranked(self, spec: LabelSpec) -> np.ndarray:
        """What the labels are ranked by, float32 (texts, labels)."""
        prior = None
        if spec.prior != NO_PRIOR:
            prior = log_prior(average(self.null if spec.prior == NULL_PRIOR else self.corpus))
        return weak_labels.ranked_scores(average(self.by_template), spec, prior)


def score_texts(
    texts: Sequence[str],
    model_name: str,
    spec: LabelSpec,
    device: str,
    threads: int | None,
    previous: Sequence[Sequence[str]],
    others: Sequence[str] = (),
) -> TextScores:
    """Score every text for every sentence of ``spec``, equal texts once, with a progress bar on a terminal.

    ``model_name`` is ``[BACKEND:]MODEL``, as --nli-model takes it. ``previous`` has the context of every text (see
    `context.previous_texts`). The corpus prior is that of ``texts`` and ``others``.
    """
    labeller = backend_of(LABELLERS, model_name).load(spec, device, threads)
    sentences = weak_labels.sentences(spec.taxonomy, spec.templates)
    hypotheses = sorted({sentence for row in sentences for sentence in row})
    in_context = list(zip(texts, map(tuple, previous), strict=True))
    corpus = [*in_context, *((text, ()) for text in others)]
    unique = list(dict.fromkeys([("", ()), *corpus]))
    steps = range(0, len(unique), STEP)
    transcripts, contexts = [text for text, _ in unique], [before for _, before in unique]
    parts = [
        score_in_context(labeller.score, transcripts[first : first + STEP], contexts[first : first + STEP], hypotheses)
        for first in tracked(steps, len(steps), "scoring")
    ]
    entailment = np.concatenate([part.entailment for part in parts])
    truncated = np.concatenate([part.truncated for part in parts])
    columns = {hypothesis: entailment[:, column] for column, hypothesis in enumerate(hypotheses)}
    stacked = weak_labels.of_labels(weak_labels.stack(columns, sentences), spec.taxonomy)
    row_of = {pair: row for row, pair in enumerate(unique)}
    rows, corpus_rows = ([row_of[pair] for pair in group] for group in (in_context, corpus))
    return TextScores(stacked[:, rows], stacked[:, :1], stacked[:, corpus_rows], truncated[rows])
