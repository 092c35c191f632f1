"""Scoring with an NLI sequence classifier.

The score is that of the transformers ``zero-shot-classification`` pipeline with ``multi_label=True``
(Yin et al. 2019, arXiv:1909.00161): softmax over the logits of entailment and contradiction alone, without the
neutral logit. Weighed against all classes instead, a hypothesis that the premise says nothing about scores low. A
classifier with two classes (entailment, not_entailment) gives the same both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import round_scores
from lanser_ops.labelling.base import Scores
from lanser_ops.labelling.nli_classes import ALL, CONTRADICTION, entailment_index, model_files
from lanser_ops.labelling.sequence_classifier import SequenceClassifier, load_classifier


@dataclass(frozen=True)
class NliScorer:
    """A loaded NLI model: ``entailment`` is a class index, ``others`` are those that it is weighed against."""

    classifier: SequenceClassifier
    entailment: int
    others: tuple[int, ...]

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """P(entailment) of every hypothesis given every premise.

        A premise may be empty. One that is too long for the model is cut, as in the pipeline; a hypothesis never is.
        Raises InputError for a hypothesis that leaves no room for a premise, and for logits that are not finite.
        Leaves torch's intra-op threads at 1.
        """
        classifier = self.classifier
        layout, max_length = classifier.layout, classifier.max_length
        before, between, after = layout.specials
        unique = {premise: index for index, premise in enumerate(dict.fromkeys(premises))}
        premise_ids = classifier.token_ids(list(unique))
        hypothesis_ids = classifier.token_ids(hypotheses)
        room = np.array([max_length - layout.special_tokens - len(ids) for ids in hypothesis_ids], np.int64)
        if (room < 1).any():
            raise InputError(
                f"hypothesis {hypotheses[int(room.argmin())][:60]!r} leaves no room for a transcript in the "
                f"{max_length} tokens that the NLI model reads; shorten the template or the label's words"
            )
        premise_lengths = np.array([len(ids) for ids in premise_ids], np.int64)
        lengths = max_length - np.maximum(room[None, :] - premise_lengths[:, None], 0)

        def head(ids: list[int]) -> np.ndarray:
            return np.hstack([before, layout.block(ids, 0), between])

        heads = [head(ids) for ids in premise_ids]
        tails = [np.hstack([layout.block(ids, 1), after]) for ids in hypothesis_ids]

        def write(row: np.ndarray, pair: int) -> None:
            premise, hypothesis = divmod(pair, len(hypotheses))
            start, tail = heads[premise], tails[hypothesis]
            if start.shape[1] + tail.shape[1] > row.shape[1]:
                start = head(classifier.cut(premise_ids[premise], int(room[hypothesis])))
            row[:, : start.shape[1]] = start
            row[:, start.shape[1] :] = tail

        logits = classifier.logits(lengths.ravel(), write)
        log_odds = logits[:, self.entailment] - np.logaddexp.reduce(logits[:, self.others], axis=1)
        with np.errstate(over="ignore"):  # exp(-log_odds) beyond float64 is a probability of 0
            entailment = round_scores(1 / (1 + np.exp(-log_odds))).reshape(lengths.shape)
        rows = np.array([unique[premise] for premise in premises], dtype=np.int64)
        truncated: np.ndarray = np.any(premise_lengths[:, None] > room[None, :], axis=1)
        return Scores(entailment[rows], truncated[rows], lengths.size)


def load_scorer(path: str, device: str = "cpu", threads: int | None = None, against: str = CONTRADICTION) -> NliScorer:
    """The NLI model in the directory ``path``; ``against`` is one of `nli_classes.AGAINST`.

    Raises InputError, one line, for a model that cannot be used; see `load_classifier`.
    """
    classifier = load_classifier(model_files(path), device, threads, texts=2)
    entailment, contradiction = entailment_index(classifier.classes, classifier.files)
    others = [index for index in range(len(classifier.classes)) if index != entailment]
    return NliScorer(classifier, entailment, tuple(others) if against == ALL else (contradiction,))
