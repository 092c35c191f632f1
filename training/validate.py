"""Agreement with the weak labels of recordings that are not trained on."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, read_all
from schemas.metrics import scores
from training.dataset import Layout, stream_shards
from training.features import crop, pad
from training.losses import cross_entropy
from training.shards import Index


def validate(
    accelerator: Accelerator, model: nn.Module, index: Index, targets: Tensor, layout: Layout
) -> dict[str, float]:
    """``val_loss``, and ``val_ua`` of the argmax, against ``targets`` (samples, labels) of the shards in ``index``.

    A clip is represented by its middle. Ranks share the samples; those that cannot be decoded are left out, and
    the result is empty if none can.
    """
    labels = len(index.labels)
    totals = torch.zeros(2 + labels * labels, dtype=torch.float64)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for waves, lengths, rows in _clips(index, layout):
            expected = targets[rows].to(accelerator.device)
            with accelerator.autocast():
                logits = model(waves.to(accelerator.device), lengths.to(accelerator.device))
            totals[0] += cross_entropy(logits, expected).sum().item()
            totals[1] += len(rows)
            cells = (expected.argmax(1) * labels + logits.argmax(1)).cpu()
            totals[2:] += torch.bincount(cells, minlength=labels * labels)
    model.train(was_training)
    totals = accelerator.reduce(totals.to(accelerator.device, torch.float32), "sum").cpu()
    if not totals[1]:
        return {}
    counts = totals[2:].reshape(labels, labels).long().numpy()
    return {"val_loss": float(totals[0] / totals[1]), "val_ua": scores(counts)["ua"]}


def _clips(index: Index, layout: Layout) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Padded waves, their lengths and their rows in the index, of this rank's samples."""
    size = round(layout.crop_s * SAMPLE_RATE)
    row_of = {key: row for row, key in enumerate(index.keys)}
    samples = itertools.islice(stream_shards(index.shards), layout.rank, None, layout.world)
    while batch := list(itertools.islice(samples, layout.batch_size)):
        waves, rows = [], []
        for sample in batch:
            try:
                waves.append(crop(read_all(io.BytesIO(sample["flac"])), size, 0.5))
            except AudioError:
                continue
            rows.append(row_of[sample["__key__"]])
        if waves:
            yield *pad(waves, size), rows
