"""A model as an ONNX graph, from the waveform to the probabilities, compared with torch before it is kept."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError, first_line
from training.features import pad
from training.model import MIN_S, EmotionModel

MODEL = "model.onnx"
# The largest difference from torch's probabilities that is accepted.
TOLERANCE = 1e-4
# Samples of a clip for Whisper: from the shortest that is encoded to its window.
SHORTEST, LONGEST = round(MIN_S * SAMPLE_RATE), 30 * SAMPLE_RATE


class _Probabilities(nn.Module):
    """The graph's inputs and output."""

    def __init__(self, model: EmotionModel):
        super().__init__()
        self.model = model

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return torch.softmax(self.model(waves, lengths), dim=1)


def export_onnx(model: EmotionModel, folder: Path) -> float:
    """Write MODEL to ``folder``; returns the largest difference from torch's probabilities.

    The graph takes ``waves``, float32 (batch, samples) at 16 kHz and zero beyond ``lengths``, int64 (batch,), with any
    number of clips and of samples, for Whisper from SHORTEST to LONGEST. It gives ``probabilities``, float32 (batch,
    labels); its metadata hold the labels and the sample rate.
    Raises InputError for a network that cannot be exported.
    """
    network = _Probabilities(model).eval()
    batch = torch.export.Dim("batch")
    # Whisper's positions end with its window.
    bounds = {"min": SHORTEST, "max": LONGEST} if model.is_whisper else {}
    samples = torch.export.Dim("samples", **bounds)
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / MODEL, folder / f".{MODEL}"
    try:
        # The exporter reports every optional package that it could also have used.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                _clips((24_000, 16_000)),
                dynamo=True,
                input_names=["waves", "lengths"],
                output_names=["probabilities"],
                dynamic_shapes={"waves": {0: batch, 1: samples}, "lengths": {0: batch}},
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(
            f"{model.spec.backbone}: torch cannot export this network to ONNX ({first_line(error)}); use --format hub"
        ) from None
    assert program is not None, "with dynamo=True the exporter returns a program"
    program.model.metadata_props.update(labels=json.dumps(model.spec.labels), sample_rate=str(SAMPLE_RATE))
    program.save(str(temporary))
    difference = max(_difference(network, temporary, sizes) for sizes in ((24_000, 16_000), (8_000,), (48_000,) * 3))
    if difference > TOLERANCE:
        temporary.unlink()
        raise RuntimeError(f"the ONNX model differs from torch's by {difference:.1e}, more than {TOLERANCE:g}")
    temporary.rename(path)
    return difference


def _clips(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Noise of ``sizes`` samples, padded, and the lengths."""
    generator = np.random.default_rng(0)
    return pad([generator.normal(0, 0.1, size).astype(np.float32) for size in sizes], max(sizes))


def _difference(network: nn.Module, path: Path, sizes: tuple[int, ...]) -> float:
    import onnxruntime

    waves, lengths = _clips(sizes)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [exported] = session.run(None, {"waves": waves.numpy(), "lengths": lengths.numpy()})
    with torch.inference_mode():
        return float(np.abs(exported - network(waves, lengths).numpy()).max())
