"""Heads on frozen encoders: what the encoder says of a clip is computed once, may be kept on disk, and is fitted to.

A stored summary is found by the content of the audio and of the encoder, and by all settings that it depends on.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.progress import tracked
from training.features import LOG_MEL, crop, pad
from training.losses import balance
from training.model import EmotionModel

# A longer clip is represented by its middle; few clips of emotion corpora are.
MAX_S = 20.0
BATCH = 16
# The L2 penalty on the weights of standardised inputs, and L-BFGS iterations.
PENALTY, ITERATIONS = 0.1, 100
# Of the arithmetic that a summary is the result of: to be raised when it changes.
VERSION = 1


@torch.inference_mode()
def summaries(
    model: EmotionModel, waves: Sequence[np.ndarray], device: torch.device, cache: Path | None = None
) -> list[Tensor]:
    """The summary of every clip, float32 (segments, layers, size), on the CPU: see training.pooling.

    ``waves`` are float32 (samples,) at 16 kHz. ``model`` is on ``device`` and in evaluation mode afterwards. Summaries
    that lie in ``cache`` are read, and all others are written there.
    """
    with torch.inference_mode(False):  # the move creates weights, and inference tensors could not be trained later
        model.to(device).eval()
    clips = [crop(wave, round(MAX_S * SAMPLE_RATE), 0.5) for wave in waves]
    files = _files(model, clips, cache) if cache else []
    stored = [_read(file) for file in files] if cache else [None] * len(clips)
    results = {row: summary for row, summary in enumerate(stored) if summary is not None}
    missing = sorted(set(range(len(clips))) - results.keys(), key=lambda row: len(clips[row]))
    starts = range(0, len(missing), BATCH)
    for start in tracked(starts, len(starts), "encoding"):  # similar lengths need little padding
        rows = missing[start : start + BATCH]
        padded, lengths = pad([clips[row] for row in rows], len(clips[rows[-1]]))
        batch, segments = model.pooling.summarise(*model.encode(padded.to(device), lengths.to(device)))
        for row, summary, count in zip(rows, batch.cpu(), segments.tolist(), strict=True):
            results[row] = summary[:count].clone()  # not a view, which would keep the padding
            if cache:
                _write(files[row], results[row])
    return [results[row] for row in range(len(clips))]


def _files(model: EmotionModel, clips: Sequence[np.ndarray], cache: Path) -> list[Path]:
    """Where the summaries of ``clips`` lie in ``cache``."""
    spec = asdict(model.spec)
    names = ("normalise", "layers", "pooling", "gain_db", "band_hz")
    settings = {"version": VERSION, "features": asdict(LOG_MEL), **{name: spec[name] for name in names}}
    digest = hashlib.sha256(json.dumps([settings, spec["encoder"]], sort_keys=True).encode())
    for name, value in sorted(model.encoder.state_dict().items()):
        digest.update(f"{name}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    prefix = digest.digest()
    keys = (hashlib.sha256(prefix + clip.astype("<f4").tobytes()).hexdigest() for clip in clips)
    return [cache / key[:2] / f"{key}.npy" for key in keys]


def _read(file: Path) -> Tensor | None:
    """The summary in ``file``; None if there is none, or a file that cannot be read, which is computed again."""
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _write(file: Path, summary: Tensor) -> None:
    """Write ``file`` under a temporary name first, so that it is complete if it exists."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
        np.save(stream, summary.numpy(), allow_pickle=False)
    os.replace(stream.name, file)


def together(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Summaries of clips as a batch, (clips, segments, layers, size), zero beyond a clip, and their segments, int."""
    return nn.utils.rnn.pad_sequence(list(clips), batch_first=True), torch.tensor([len(clip) for clip in clips])


def fit_frozen(model: EmotionModel, clips: Sequence[Tensor], labels: Sequence[int], penalty: float = PENALTY) -> None:
    """Fit ``model.head`` and what pooling learns to ``clips``, the `summaries` of labelled clips.

    ``labels`` are class indices. Summaries are standardised, classes are balanced, and weights have an L2 penalty, but
    for those of the layers; with a single layer and no attention it is multinomial logistic regression. ``model`` is
    in evaluation mode afterwards.
    """
    summary, segments = together(clips)
    model.pooling.standardise(summary, segments)
    pooling, head = copy.deepcopy(model.pooling).cpu(), copy.deepcopy(model.head).cpu()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    # Pooled summaries are small, and in double precision the result does not depend on the order of sums.
    kind = torch.float32 if pooling.attention is not None else torch.float64
    pooling, head = pooling.to(kind), head.to(kind)
    summary = (summary.to(kind) - pooling.centre) / pooling.scale
    one_hot = np.eye(len(model.spec.labels))[list(labels)]
    targets, weights = (torch.from_numpy(array).to(kind) for array in (one_hot, balance(one_hot)))
    parameters = [*pooling.parameters(), *head.parameters()]
    penalised = [weight for weight in parameters if weight.ndim > 1]
    optimizer = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = head(pooling.mix(summary, segments))
        entropy = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
        squares = torch.stack([weight.square().sum() for weight in penalised])
        value = (entropy * weights).mean() + penalty * squares.sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    model.pooling.load_state_dict(pooling.state_dict())
    model.head.load_state_dict(head.state_dict())
    model.eval()


@torch.inference_mode()
def frozen_probabilities(model: EmotionModel, clips: Sequence[Tensor]) -> Tensor:
    """Label probabilities, float32 (clips, labels), of ``clips``, `summaries` of ``model``'s encoder."""
    device = model.head.weight.device
    summary, segments = (tensor.to(device) for tensor in together(clips))
    return torch.softmax(model.head(model.pooling(summary, segments)), dim=1).cpu()
