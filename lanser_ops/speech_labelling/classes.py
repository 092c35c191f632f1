"""Which label of a taxonomy each class of a speech model stands for, and which label the voice favours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from lanser_ops.common.emotions import EMOTION_OF
from lanser_ops.common.errors import InputError
from schemas.taxonomy import Taxonomy


def check_classes(model: str, classes: tuple[str, ...], taxonomy: Taxonomy) -> None:
    """Raise InputError, which begins with ``model``, if no class stands for a label of the taxonomy."""
    labels = taxonomy.label_names
    if not class_labels(classes, labels):
        raise InputError(
            f"{model}: none of its classes ({', '.join(classes)}) is a label of {taxonomy.name} ({', '.join(labels)}); "
            "use a model with classes of these names, or another --taxonomy"
        )


@lru_cache
def class_labels(classes: tuple[str, ...], labels: tuple[str, ...]) -> dict[str, str]:
    """The label that each class stands for; a class without one is left out.

    A class is the label of its own name, in upper or lower case, else the only label that is a synonym.

    >>> class_labels(("hap", "ANGER", "calm"), ("joy", "anger", "neutral"))
    {'hap': 'joy', 'ANGER': 'anger'}
    """
    by_name = {label.casefold(): label for label in labels}
    matched = {}
    for name in classes:
        folded = name.strip().casefold()
        emotion = EMOTION_OF.get(folded)
        synonyms = [label for word, label in by_name.items() if emotion and EMOTION_OF.get(word) == emotion]
        if folded in by_name:
            matched[name] = by_name[folded]
        elif len(synonyms) == 1:
            matched[name] = synonyms[0]
    return matched


def voice_label(classes: Sequence[str], scores: Sequence[float], labels: tuple[str, ...]) -> tuple[str, float] | None:
    """The label with the highest score, and its score among all labels that the model has a class for.

    ``scores`` are the probabilities of ``classes``. Those of classes that stand for the same label are added up; those
    of classes that stand for none are left out, and the others are scaled to a sum of 1. None where nothing remains.

    >>> voice_label(("happy", "angry", "calm"), (0.375, 0.125, 0.5), ("joy", "anger"))
    ('joy', 0.75)
    """
    label_of = class_labels(tuple(classes), labels)
    totals: dict[str, float] = {}
    for name, score in zip(classes, scores, strict=True):
        if name in label_of:
            totals[label_of[name]] = totals.get(label_of[name], 0.0) + score
    total = sum(totals.values())
    if not total:
        return None
    best = max(totals, key=lambda label: totals[label])
    return best, totals[best] / total
