"""Other implementations of Whisper as functions from arrays to texts, for `asr.py` and `gpu`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline

from lanser_ops.audio.decode import SAMPLE_RATE

Recognise = Callable[[list[np.ndarray]], list[str]]


def batched_pipeline(pipeline: BatchedInferencePipeline, batch_size: int, **options: Any) -> Recognise:
    """faster-whisper's batched pipeline on all clips at once, each a stretch of one array by clip_timestamps."""

    def recognise(clips: list[np.ndarray]) -> list[str]:
        ends = np.cumsum([len(clip) for clip in clips]) / SAMPLE_RATE
        starts = [0.0, *ends[:-1]]
        stretches = [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]
        parts, _ = pipeline.transcribe(
            np.concatenate(clips), clip_timestamps=stretches, batch_size=batch_size, vad_filter=False, **options
        )
        texts = [""] * len(clips)
        for part in parts:
            texts[int(np.searchsorted(starts, part.start + 0.001, side="right")) - 1] += part.text
        return texts

    return recognise


def transformers_pipeline(folder: str, device: str, batch_size: int, beam_size: int, language: str) -> Recognise:
    """transformers' pipeline, in float16 on CUDA and in float32 on a CPU."""
    import torch
    from transformers import pipeline

    kind = torch.float16 if device == "cuda" else torch.float32
    pipe = pipeline("automatic-speech-recognition", folder, device=device, dtype=kind, batch_size=batch_size)
    settings: dict[str, Any] = {"num_beams": beam_size}
    if pipe.model.generation_config.is_multilingual:
        settings |= {"language": language, "task": "transcribe"}

    def recognise(clips: list[np.ndarray]) -> list[str]:
        inputs = [{"raw": clip, "sampling_rate": SAMPLE_RATE} for clip in clips]
        return [output["text"] for output in pipe(inputs, generate_kwargs=settings)]

    return recognise
