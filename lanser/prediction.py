"""What a trained model says of recordings."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lanser.jobs import Places

if TYPE_CHECKING:
    from training.model import EmotionModel


@dataclass(frozen=True)
class Prediction:
    """The most probable label of the recording ``path``, and the probability of every label."""

    path: Path
    label: str
    probabilities: dict[str, float]


def predict(model: EmotionModel, recordings: Places, device: str = "auto") -> list[Prediction]:
    """What ``model``, of `load_model`, says of ``recordings``: files, folders, globs or manifests.

    ``device`` is ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: a name that stands for no audio, audio that cannot be decoded, or another device.

    Examples:
        >>> import lanser
        >>> model = lanser.load_model("runs/tuned")  # doctest: +SKIP
        >>> for prediction in lanser.predict(model, ["recordings/"]):  # doctest: +SKIP
        ...     print(prediction.path, prediction.label)
    """
    import torch

    from lanser_ops.audio.decode import AudioError
    from lanser_ops.common.device import resolve_device
    from lanser_ops.common.errors import InputError
    from training.classifier import predict_file
    from training.recordings import find_recordings

    place = torch.device(resolve_device(device))
    predictions = []
    names = [recordings] if isinstance(recordings, (str, PathLike)) else recordings
    for path in find_recordings([str(name) for name in names]):
        try:
            label, by_label = predict_file(model, path, place)
        except (AudioError, OSError) as error:
            raise InputError(f"{path}: cannot be decoded ({error})") from None
        predictions.append(Prediction(path, label, by_label))
    return predictions
