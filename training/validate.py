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
from training.mixture import SampleSet
from training.summaries import Summaries


def validate(
    accelerator: Accelerator, model: nn.Module, samples: SampleSet, layout: Layout, summaries: Summaries | None = None
) -> dict[str, float]:
    """``val_loss``; where labels are learned also ``val_ua`` and ``val_macro_f1`` of the argmax, against the targets.

    ``model`` is a `training.objectives.PretrainNetwork`; with a frozen encoder ``summaries`` are its inputs. A clip is
    represented by its middle. Ranks share the samples; those that cannot be decoded are left out, and the result is
    empty if none can.
    """
    labels = len(samples.labels)
    totals = torch.zeros(2 + labels * labels, dtype=torch.float64)
    was_training = model.training
    model.eval()
    network = accelerator.unwrap_model(model)  # the wrapper of several ranks waits for those that have no clips
    clips = _clips(samples, layout) if summaries is None else summaries.clips(layout.batch_size)
    with torch.inference_mode():
        for inputs, lengths, rows in clips:
            targets = samples.targets[rows].to(accelerator.device)
            with accelerator.autocast():
                losses, logits = network(
                    inputs.to(accelerator.device), lengths.to(accelerator.device), None, None, targets
                )
            totals[0] += losses.sum().item()
            totals[1] += len(rows)
            if logits is not None:
                cells = (targets[:, :labels].argmax(1) * labels + logits.argmax(1)).cpu()
                totals[2:] += torch.bincount(cells, minlength=labels * labels)
    model.train(was_training)
    totals = accelerator.reduce(totals.to(accelerator.device, torch.float32), "sum").cpu()
    if not totals[1]:
        return {}
    figures = {"val_loss": float(totals[0] / totals[1])}
    counts = totals[2:].reshape(labels, labels).long().numpy()
    if counts.any():
        agreement = scores(counts)
        figures |= {"val_ua": agreement["ua"], "val_macro_f1": agreement["macro_f1"]}
    return figures


def _clips(samples: SampleSet, layout: Layout) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Padded waves, their lengths and their rows in ``samples``, of this rank's part."""
    size = round(layout.crop_s * SAMPLE_RATE)
    row_of = {key: row for row, key in enumerate(samples.keys)}
    stream = itertools.islice(stream_shards(samples.shards), layout.rank, None, layout.world)
    while batch := list(itertools.islice(stream, layout.batch_size)):
        waves, rows = [], []
        for sample in batch:
            try:
                waves.append(crop(read_all(io.BytesIO(sample["flac"])), size, 0.5))
            except AudioError:
                continue
            rows.append(row_of[sample["__key__"]])
        if waves:
            yield *pad(waves, size), rows
