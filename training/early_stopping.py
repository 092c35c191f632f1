"""Early stopping: a run ends when the UA of validation clips no longer rises, and keeps its best weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from schemas.metrics import confusion, scores
from training.classifier import probabilities
from training.model import EmotionModel

# Validations in a run that is not stopped.
VALIDATIONS = 20


class EarlyStopping:
    """Validates ``model`` while it is trained for ``steps``.

    ``waves``, each float32 (samples,) at 16 kHz, and the class indices ``labels`` are of speakers that are not trained
    on. Training stops after ``patience`` validations in a row without a higher UA.
    """

    def __init__(
        self,
        model: EmotionModel,
        waves: Sequence[np.ndarray],
        labels: Sequence[int],
        steps: int,
        patience: int,
        device: torch.device,
    ):
        self.best_step, self.best_ua = 0, -1.0
        self._model, self._waves, self._labels, self._device = model, waves, labels, device
        self._steps, self._patience = steps, patience
        self._every = max(1, steps // VALIDATIONS)
        self._weights: dict[str, Tensor] = {}
        self._failures = 0

    def after_step(self, step: int) -> bool:
        """Validate if it is time to, after ``step`` steps; returns whether training has to stop."""
        if step % self._every and step < self._steps:
            return False
        predicted = probabilities(self._model, self._waves, self._device).argmax(dim=1).tolist()
        self._model.train()
        ua = scores(confusion(self._labels, predicted, len(self._model.spec.labels)))["ua"]
        if ua > self.best_ua:
            self.best_step, self.best_ua, self._failures = step, ua, 0
            self._weights = {name: value.clone() for name, value in self._model.state_dict().items()}
            return False
        self._failures += 1
        return self._failures >= self._patience

    def restore(self) -> None:
        """Give the model the weights of the best validation."""
        self._model.load_state_dict(self._weights)
