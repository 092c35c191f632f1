"""Scoring with a text classifier whose classes are the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops.common.label_scores import round_scores
from lanser_ops.labelling.base import Scores
from lanser_ops.labelling.model_files import ModelFiles
from lanser_ops.labelling.sequence_classifier import SequenceClassifier, load_classifier


@dataclass(frozen=True)
class ClassifierScorer:
    """A loaded text classifier; ``independent``: each class is weighed against its own absence, not the others."""

    classifier: SequenceClassifier
    independent: bool

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """P(class) of every class in ``hypotheses`` for every premise; each different premise is one forward pass.

        A premise that is too long for the model is cut. Raises InputError for logits that are not finite. Leaves
        torch's intra-op threads at 1.
        """
        classifier = self.classifier
        before, after = classifier.layout.specials
        room = classifier.max_length - classifier.layout.special_tokens
        unique = {premise: index for index, premise in enumerate(dict.fromkeys(premises))}
        ids = classifier.token_ids(list(unique))
        truncated = np.array([len(tokens) > room for tokens in ids], dtype=bool)
        texts = [classifier.cut(tokens, room) if len(tokens) > room else tokens for tokens in ids]
        lengths = np.array([len(tokens) + classifier.layout.special_tokens for tokens in texts], dtype=np.int64)

        def write(row: np.ndarray, index: int) -> None:
            row[:] = np.hstack([before, classifier.layout.block(texts[index], 0), after])

        logits = classifier.logits(lengths, write)
        probabilities = round_scores(_sigmoid(logits) if self.independent else _softmax(logits))
        columns = [classifier.classes.index(hypothesis) for hypothesis in hypotheses]
        rows = np.array([unique[premise] for premise in premises], dtype=np.int64)
        return Scores(probabilities[rows][:, columns], truncated[rows], len(unique))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp beyond float64 is a probability of 0
        return 1 / (1 + np.exp(-logits))


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def load_scorer(files: ModelFiles, device: str, threads: int | None, independent: bool) -> ClassifierScorer:
    """The text classifier in ``files``.

    Raises InputError, one line, for a model that cannot be used; see `load_classifier`.
    """
    classifier = load_classifier(files, device, threads, texts=1)
    if not classifier.layout.special_tokens:
        raise files.error("has a tokenizer that adds no special tokens, so an empty text could not be scored")
    return ClassifierScorer(classifier, independent)
