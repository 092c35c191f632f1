"""Linear heads that read emotion and prosody out of a fixed representation of clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from lanser_ops.common.errors import InputError
from lanser_ops.common.progress import tracked
from schemas.metrics import confusion, scores
from training.classifier import embed_all, fit_linear
from training.corpora.folds import Fold
from training.corpora.utterance import Corpus
from training.features import LogMel
from training.model import EmotionModel, new_model
from training.prosody import measure
from training.qualities import QUALITIES, Prosody

# L2 penalty of the regressions, on standardised inputs and a mean squared error.
PENALTY = 1e-2


def measure_all(waves: Sequence[np.ndarray]) -> list[Prosody | None]:
    """`measure` of every clip, in processes since Praat holds Python's lock."""
    with ProcessPoolExecutor() as pool:
        return list(tracked(pool.map(measure, waves, chunksize=16), len(waves), "measuring prosody"))


def representations(
    models: Mapping[str, EmotionModel],
    waves: Sequence[np.ndarray],
    seeds: Sequence[int],
    device: torch.device,
    cache: Path | None,
) -> Iterator[tuple[str, Tensor]]:
    """(name, float32 (clips, width)); an untrained ResNet comes once per seed, under the same name.

    The features of encoders are kept in ``cache``, except those of untrained ones.
    """
    yield "log-mel statistics", statistics_of(waves)
    for backbone in dict.fromkeys(model.spec.backbone for model in models.values() if model.is_resnet):
        for seed in seeds:
            set_seed(seed)
            yield f"{backbone}, untrained", embed_all(new_model(backbone, "none", ("a", "b")), waves, device)
    for name, model in models.items():
        yield name, embed_all(model, waves, device, cache)


@torch.inference_mode()
def statistics_of(waves: Sequence[np.ndarray]) -> Tensor:
    """Mean and standard deviation over time of every log-mel band, float32 (clips, 2 * bands)."""
    log_mel = LogMel()
    rows = []
    for wave in waves:
        bands = log_mel.log_mel(torch.from_numpy(wave)[None])[0]
        rows.append(torch.cat([bands.mean(dim=1), bands.std(dim=1, correction=0)]))
    return torch.stack(rows)


def read_out(
    inputs: Tensor, rows: Sequence[int], corpus: Corpus, folds: Sequence[Fold], prosodies: Sequence[Prosody | None]
) -> dict[str, float]:
    """UA of emotion and R² of every quality, of linear heads on ``inputs`` (clips, width) over all folds together.

    ``rows`` are the clips' rows in the corpus. A head is never tested on a speaker that it was fitted on.
    """
    clip_of = {row: number for number, row in enumerate(rows)}
    labels = torch.tensor([corpus.labels.index(corpus.utterances[row].label) for row in rows])
    voiced = torch.tensor([prosody is not None for prosody in prosodies])
    silent = (0.0,) * len(QUALITIES)
    values = torch.tensor([astuple(prosody) if prosody else silent for prosody in prosodies], dtype=torch.float64)
    predicted = torch.full((len(rows),), -1)
    errors, spreads = torch.zeros(2, len(QUALITIES), dtype=torch.float64)
    for fold in folds:
        train, test = (
            torch.tensor([clip_of[row] for row in part if row in clip_of], dtype=torch.long)
            for part in (fold.train, fold.test)
        )
        if not len(train) or not len(test):
            raise InputError("a fold without clips to fit on or to test on; give --folds, or more speakers")
        head = fit_linear(inputs[train], labels[train].tolist(), len(corpus.labels))
        with torch.inference_mode():
            predicted[test] = head(inputs[test]).argmax(dim=1)
        train, test = train[voiced[train]], test[voiced[test]]
        if not len(train) or not len(test):
            continue  # without voice, the fold adds nothing to R²
        estimates = ridge(inputs[train].double(), values[train], inputs[test].double())
        errors += (values[test] - estimates).square().sum(dim=0)
        spreads += (values[test] - values[test].mean(dim=0)).square().sum(dim=0)
    tested = predicted >= 0
    counts = confusion(labels[tested].tolist(), predicted[tested].tolist(), len(corpus.labels))
    explained = torch.where(spreads > 0, 1 - errors / spreads, 0.0)  # 0 for a quality that does not vary
    return {"emotion": scores(counts)["ua"], **dict(zip(QUALITIES, explained.tolist(), strict=True))}


def ridge(inputs: Tensor, targets: Tensor, unseen: Tensor) -> Tensor:
    """Predictions for ``unseen`` (clips, width) of linear regressions of ``targets`` (clips, values) on ``inputs``."""
    mean, std = inputs.mean(dim=0), inputs.std(dim=0, correction=0) + 1e-6
    centre = targets.mean(dim=0)
    scaled = (inputs - mean) / std
    gram = scaled.T @ scaled / len(scaled) + PENALTY * torch.eye(scaled.shape[1], dtype=scaled.dtype)
    weights = torch.linalg.solve(gram, scaled.T @ (targets - centre) / len(scaled))
    return (unseen - mean) / std @ weights + centre
