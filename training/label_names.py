"""Which labels of a model and of a corpus mean the same emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lanser_ops.common.emotions import EMOTION_OF
from lanser_ops.common.errors import InputError
from schemas.suggestions import did_you_mean

# What the published corpora call emotions beside the names that models and taxonomies use too.
OF_CORPORA = {"no_emotion": "neutral", "ps": "surprise", "pleasant_surprise": "surprise"}


def emotion(label: str) -> str:
    """The emotion that ``label`` names, in one spelling; an unknown label names itself.

    >>> emotion("Happiness"), emotion("calm")
    ('joy', 'calm')
    """
    name = label.casefold().replace(" ", "_")
    return OF_CORPORA.get(name) or EMOTION_OF.get(name, name)


@dataclass(frozen=True)
class Match:
    """The emotions that a model and a corpus share, under the corpus' names, in its order.

    ``columns`` has, for every shared label, the model's class indices whose probabilities add up to it.
    """

    labels: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]


def match_labels(model_labels: Sequence[str], corpus_labels: Sequence[str], renamed: Mapping[str, str]) -> Match:
    """The emotions that both have; ``renamed`` maps labels of the model to others first.

    Raises InputError for a renamed label that the model does not have, and for fewer than two shared emotions.
    """
    unknown = sorted(renamed.keys() - set(model_labels))
    if unknown:
        raise InputError(
            f"--map: {unknown[0]!r} is no label of the model; it has {', '.join(model_labels)}"
            f"{did_you_mean(unknown[0], model_labels)}"
        )
    emotions = [emotion(renamed.get(label, label)) for label in model_labels]
    columns = {
        label: tuple(index for index, name in enumerate(emotions) if name == emotion(label)) for label in corpus_labels
    }
    labels = tuple(label for label in corpus_labels if columns[label])
    if len(labels) < 2:
        raise InputError(
            f"the model ({', '.join(model_labels)}) and the corpus ({', '.join(corpus_labels)}) share {len(labels)} "
            "labels; map the model's to the corpus' with --map FILE.yaml"
        )
    return Match(labels, tuple(columns[label] for label in labels))
