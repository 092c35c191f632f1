"""Predictions of labelled clips, one per line of a JSON Lines file, from which every figure can be computed again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lanser_ops.common.errors import InputError

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class Prediction:
    """What a model said of a clip that it was not trained on.

    ``fraction`` is the share of the training labels, ``seed`` and ``fold`` name the model; ``clip`` is the file's path
    below the corpus, ``gold`` the label of the corpus and ``probabilities`` those of all labels, in class-index order.
    """

    fraction: float
    seed: int
    fold: int
    clip: str
    speaker: str | None
    gold: str
    predicted: str
    probabilities: dict[str, float]


def predict_label(probabilities: Sequence[float], labels: Sequence[str]) -> tuple[str, dict[str, float]]:
    """The most probable label, and every label's probability to six decimals.

    >>> predict_label([0.25, 0.75], ["anger", "joy"])
    ('joy', {'anger': 0.25, 'joy': 0.75})
    """
    best = max(range(len(labels)), key=lambda index: probabilities[index])
    return labels[best], {name: round(value, 6) for name, value in zip(labels, probabilities, strict=True)}


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write ``predictions`` to ``path``, a line of JSON each."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in predictions), encoding="utf-8")


def read_predictions(run: str | Path) -> list[Prediction]:
    """The predictions in the file ``run``, or in PREDICTIONS of that folder; raises InputError if there are none."""
    path = Path(run)
    path = path / PREDICTIONS if path.is_dir() else path
    names = {field.name for field in fields(Prediction)}
    predictions = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            values = json.loads(line)
            if not isinstance(values, dict) or values.keys() != names or not isinstance(values["probabilities"], dict):
                raise InputError(f"{path}, line {number}: not a prediction; give the output of finetune or evaluate")
            predictions.append(Prediction(**values))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: no predictions ({error}); give the output of lanser finetune or evaluate") from None
    if not predictions:
        raise InputError(f"{path}: no predictions; give the output of lanser finetune or evaluate")
    return predictions
