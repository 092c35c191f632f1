"""Agreement with the weak labels of recordings that training has not heard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from schemas.metrics import scores
from training.audio import AudioError, decode, pad
from training.dataset import Layout, stream_shards
from training.features import LOG_MEL, crop
from training.losses import cross_entropy
from training.shards import Index


def validate(
    accelerator: Accelerator, model: nn.Module, index: Index, targets: Tensor, layout: Layout
) -> dict[str, float]:
    """``val_loss``, and ``val_ua`` of the argmax, against ``targets`` (samples, labels) of the shards in ``index``.

    The middle of each clip is heard. Ranks share the samples; what does not decode is left out.
    """
    labels = len(index.labels)
    totals = torch.zeros(2 + labels * labels, dtype=torch.float64)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for waves, rows in _clips(index, layout):
            wanted = targets[rows].to(accelerator.device)
            padded, lengths = (torch.from_numpy(one).to(accelerator.device) for one in waves)
            with accelerator.autocast():
                logits = model(padded, lengths)
            totals[0] += cross_entropy(logits, wanted).sum().item()
            totals[1] += len(rows)
            cells = (wanted.argmax(1) * labels + logits.argmax(1)).cpu()
            totals[2:] += torch.bincount(cells, minlength=labels * labels)
    model.train(was_training)
    totals = accelerator.reduce(totals.to(accelerator.device, torch.float32), "sum").cpu()
    if not totals[1]:
        return {}
    counts = totals[2:].reshape(labels, labels).long().numpy()
    return {"val_loss": float(totals[0] / totals[1]), "val_ua": scores(counts)["ua"]}


def _clips(index: Index, layout: Layout) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], list[int]]]:
    """Padded waves, their lengths and their rows in the index, of this rank's samples."""
    size = round(layout.crop_s * LOG_MEL.sample_rate)
    rows = {key: row for row, key in enumerate(index.keys)}
    mine = itertools.islice(stream_shards(index.shards), layout.rank, None, layout.world)
    while samples := list(itertools.islice(mine, layout.batch_size)):
        waves, kept = [], []
        for sample in samples:
            try:
                waves.append(crop(decode(sample["flac"]), size, 0.5))
            except AudioError:
                continue
            kept.append(rows[sample["__key__"]])
        if kept:
            yield pad(waves, size), kept
