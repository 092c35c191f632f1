"""Scoring with an audio classifier of transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils.logging import disable_progress_bar

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import first_line
from lanser_ops.labelling.model_files import ClassifierConfig, ModelFiles

# Seconds of audio that are held and sorted by length at once.
POOL_SECONDS = {"cpu": 120.0, "cuda": 2400.0}
# Padded seconds of audio in a batch. On a CPU a clip is computed alone: padding costs more than a batch saves.
BATCH_SECONDS = {"cpu": 0.0, "cuda": 300.0}
# Shorter clips are followed by silence: they may have no frame at all.
MIN_SAMPLES = SAMPLE_RATE // 10
MULTI_LABEL = "multi_label_classification"
# Not in every published checkpoint, and used in training alone.
OPTIONAL_WEIGHTS = "masked_spec_embed"


@dataclass(frozen=True)
class AudioClassifier:
    """A loaded audio classifier.

    ``mixes_lengths`` says whether clips of different lengths may share a batch, which holds up to ``batch_seconds`` of
    padded audio, at least one clip. ``parallel_batches`` are computed at the same time. ``independent``: each class is
    weighed against its own absence, not the others.
    """

    model: Any
    extractor: Any
    mixes_lengths: bool
    independent: bool
    batch_seconds: float
    parallel_batches: int
    pool_seconds: float

    def score(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """P(class), float64 (clips, classes), of ``clips``, each float32 (samples,) at 16 kHz.

        Leaves torch's intra-op threads at 1.
        """
        padded = [np.pad(samples, (0, max(0, MIN_SAMPLES - len(samples)))) for samples in clips]
        batches = list(self._batches([len(samples) for samples in padded]))
        with ThreadPoolExecutor(self.parallel_batches, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parts = list(pool.map(lambda batch: self._run([padded[index] for index in batch]), batches))
        values = np.concatenate(parts)
        scores = np.empty_like(values)
        scores[np.concatenate(batches)] = values
        return scores

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of clips of ``lengths`` in samples, the longest first."""
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
            longest = lengths[batch[0]] if batch else 0
            full = (len(batch) + 1) * longest > self.batch_seconds * SAMPLE_RATE
            if batch and (full or (lengths[index] != longest and not self.mixes_lengths)):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @torch.inference_mode()
    def _run(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        is_whisper = self.model.config.model_type == "whisper"  # its encoder reads windows of one length
        inputs = self.extractor(
            list(clips),
            sampling_rate=SAMPLE_RATE,
            padding="max_length" if is_whisper else "longest",
            return_tensors="pt",
        ).to(self.model.device)
        logits = self.model(**inputs).logits.double()
        return (torch.sigmoid(logits) if self.independent else torch.softmax(logits, dim=1)).cpu().numpy()


def load_classifier(files: ModelFiles, config: ClassifierConfig, device: str, threads: int | None) -> AudioClassifier:
    """The audio classifier in ``files``, in float32.

    On a CPU ``threads`` clips (default: one per core) are computed at the same time, each on one thread, so no sum
    depends on the number of threads. Raises InputError, one line, for a model that cannot be used.
    """
    disable_progress_bar()  # transformers' bar for loading weights would overwrite the job's own
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(files.path, **safe)
        model, loading = transformers.AutoModelForAudioClassification.from_pretrained(
            files.path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
        )
    except Exception as error:  # the loaders raise whatever their parsers do
        raise files.error(f"cannot be loaded ({first_line(error).rstrip('.')})") from None
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith(OPTIONAL_WEIGHTS))
    if missing:
        raise files.error(f"has no weights for {', '.join(missing[:3])}")
    if extractor.sampling_rate != SAMPLE_RATE:
        raise files.error(f"takes {extractor.sampling_rate} Hz, not {SAMPLE_RATE}")
    model.eval().requires_grad_(False).to(device)
    # A group norm averages over all of the input, padding included; the wav2vec 2.0 base models have one.
    has_group_norm = any(isinstance(module, torch.nn.GroupNorm) for module in model.modules())
    return AudioClassifier(
        model=model,
        extractor=extractor,
        mixes_lengths=bool(getattr(extractor, "return_attention_mask", False)) and not has_group_norm,
        independent=config.problem_type == MULTI_LABEL,
        batch_seconds=BATCH_SECONDS[device],
        parallel_batches=(threads or os.cpu_count() or 1) if device == "cpu" else 1,
        pool_seconds=POOL_SECONDS[device],
    )
