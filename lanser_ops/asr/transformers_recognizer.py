"""Greedy speech recognition with transformers models, in batches of similar length.

CTC (Graves et al. 2006): the likeliest token of every frame, repeats merged, blanks dropped. Its ``avg_logprob`` is the
mean over the remaining tokens of the log probability in their first frame; that of an encoder-decoder model is the mean
over its tokens without special ones. Neither has a threshold: a value that is low for one model is usual for another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from lanser_ops.asr.base import Clip, Hypothesis
from lanser_ops.asr.batches import decode_in_batches
from lanser_ops.asr.quality import is_looped
from lanser_ops.asr.transformers_config import ADVICE, CTC_SUFFIX, OPTION, architecture_of
from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from schemas.specs import TranscribeSpec

# Seconds of audio that are held and sorted by length at once.
POOL_SECONDS = {"cpu": 120.0, "cuda": 2400.0}
# Padded seconds of audio in a batch.
BATCH_SECONDS = {"cpu": 30.0, "cuda": 600.0}
DTYPES = {"cpu": torch.float32, "cuda": torch.float16}
# Whisper's encoder reads windows of this length only.
WHISPER_WINDOW_S = 30.0
# Shorter clips are padded with silence: they may have no frame at all.
MIN_SAMPLES = SAMPLE_RATE // 10


@dataclass
class TransformersRecognizer:
    """A loaded model; ``batch_seconds`` shrinks where memory does not suffice.

    ``mixes_lengths`` says whether clips of different lengths may share a batch. ``language`` is the language of the
    model's output, None if unknown.
    """

    model: Any
    extractor: Any
    tokenizer: Any
    is_ctc: bool
    mixes_lengths: bool
    language: str | None
    batch_seconds: float
    pool_seconds: float

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """Recognise ``clips`` (each at most 30 s), in their order."""
        padded = [np.pad(clip.samples, (0, max(0, MIN_SAMPLES - len(clip.samples)))) for clip in clips]

        def decode(batch: list[int]) -> list[Hypothesis]:
            with torch.inference_mode():
                return self._decode([padded[index] for index in batch])

        def split(remaining: Sequence[int]) -> Iterator[list[int]]:
            return self._batches(remaining, [len(samples) for samples in padded])

        return decode_in_batches(self, len(clips), split, decode)

    def _batches(self, indices: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """``indices``, long clips first, in batches of at most ``batch_seconds`` including padding."""
        batch: list[int] = []
        for index in sorted(indices, key=lambda index: (-lengths[index], index)):
            longest = lengths[batch[0]] / SAMPLE_RATE if batch else 0.0
            window = WHISPER_WINDOW_S if self._is_whisper else longest
            full = (len(batch) + 1) * window > self.batch_seconds
            if batch and (full or (not self.mixes_lengths and lengths[index] != lengths[batch[0]])):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @property
    def _is_whisper(self) -> bool:
        return self.model.config.model_type == "whisper"

    def _decode(self, samples: Sequence[np.ndarray]) -> list[Hypothesis]:
        inputs = self.extractor(
            list(samples),
            sampling_rate=SAMPLE_RATE,
            padding="max_length" if self._is_whisper else "longest",
            return_attention_mask=self.mixes_lengths,
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
        seconds = [len(array) / SAMPLE_RATE for array in samples]
        return self._decode_ctc(inputs, seconds) if self.is_ctc else self._decode_seq2seq(inputs, seconds)

    def _decode_ctc(self, inputs: Any, seconds: Sequence[float]) -> list[Hypothesis]:
        log_probs = self.model(**inputs).logits.float().log_softmax(-1)
        best_log_probs, best_tokens = (array.cpu().numpy() for array in log_probs.max(-1))
        frames = [best_tokens.shape[1]] * len(seconds)
        frame_counter = _frame_counter(self.model)
        if self.mixes_lengths and frame_counter:
            frames = frame_counter(inputs["attention_mask"].sum(-1)).tolist()
        hypotheses = []
        for row, count in enumerate(frames):
            tokens = best_tokens[row, :count]
            emitted = tokens != self.model.config.pad_token_id  # the blank
            emitted[1:] &= tokens[1:] != tokens[:-1]
            # A CTC model's tokenizer would merge repeats, but those that remain are spoken twice.
            text = self.tokenizer.decode(tokens[emitted].tolist(), group_tokens=False, skip_special_tokens=True)
            log_prob = best_log_probs[row, :count][emitted]
            hypotheses.append(self._hypothesis(text, seconds[row], log_prob, truncated=False))
        return hypotheses

    def _decode_seq2seq(self, inputs: Any, seconds: Sequence[float]) -> list[Hypothesis]:
        settings = {"return_timestamps": False, "force_unique_generate_call": True} if self._is_whisper else {}
        output = self.model.generate(
            **inputs, num_beams=1, do_sample=False, return_dict_in_generate=True, output_scores=True, **settings
        )
        scores = torch.stack(output.scores, dim=1).float().log_softmax(-1)  # (clips, tokens, vocabulary)
        generated = output.sequences[:, -scores.shape[1] :]
        log_probs = scores.gather(2, generated[:, :, None])[:, :, 0].cpu().numpy()
        end_tokens = np.atleast_1d(self.model.generation_config.eos_token_id)
        hypotheses = []
        for row, tokens in enumerate(generated.cpu().numpy()):
            ends = np.flatnonzero(np.isin(tokens, end_tokens))
            count = ends[0] if len(ends) else len(tokens)
            emitted = np.isin(tokens[:count], self.tokenizer.all_special_ids, invert=True)
            text = self.tokenizer.decode(tokens[:count].tolist(), skip_special_tokens=True)
            log_prob = log_probs[row, :count][emitted]
            hypotheses.append(self._hypothesis(text, seconds[row], log_prob, truncated=not len(ends)))
        return hypotheses

    def _hypothesis(self, text: str, seconds: float, log_probs: np.ndarray, truncated: bool) -> Hypothesis:
        doubts = {"repetition": is_looped(text, seconds), "transcript_truncated": truncated}
        return Hypothesis(
            text=text.strip(),
            avg_logprob=float(log_probs.mean()) if len(log_probs) else 0.0,
            language=self.language,
            flags=tuple(name for name, doubted in doubts.items() if doubted),
        )


def load_recognizer(spec: TranscribeSpec, device: str, threads: int) -> TransformersRecognizer:
    """Load a model from its directory; float16 on CUDA, float32 on CPU. ``threads`` 0: all cores.

    Sets torch's intra-op threads and silences transformers. Raises InputError, one line, for a model that cannot be
    loaded as a whole.
    """
    device = resolve_device(device)
    if device == "cpu":
        torch.set_num_threads(threads or os.cpu_count() or 1)
    disable_progress_bar()
    set_verbosity_error()  # Whisper's generate warns of options that it sets itself, in every batch
    path, name = spec.asr_model.path, spec.asr_model.id
    is_ctc = architecture_of(path).endswith(CTC_SUFFIX)
    auto_model = transformers.AutoModelForCTC if is_ctc else transformers.AutoModelForSpeechSeq2Seq
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(path, **safe)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **safe)
        model, loading = auto_model.from_pretrained(
            path, use_safetensors=True, dtype=DTYPES[device], output_loading_info=True, **safe
        )
    except Exception as error:  # the loaders raise whatever their parsers do
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{OPTION} {name}: cannot be loaded: {reason}; {ADVICE}") from None
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise InputError(f"{OPTION} {name}: no weights for {missing}; {ADVICE}")
    if extractor.sampling_rate != SAMPLE_RATE:
        raise InputError(f"{OPTION} {name}: it takes {extractor.sampling_rate} Hz, not {SAMPLE_RATE}; {ADVICE}")
    model.eval().requires_grad_(False).to(device)
    language = getattr(getattr(model, "generation_config", None), "language", None)
    return TransformersRecognizer(
        model=model,
        extractor=extractor,
        tokenizer=tokenizer,
        is_ctc=is_ctc,
        mixes_lengths=_masks_padding(model) and (not is_ctc or _frame_counter(model) is not None),
        language=language and language.strip("<|>"),
        batch_seconds=BATCH_SECONDS[device],
        pool_seconds=POOL_SECONDS[device],
    )


def _masks_padding(model: torch.nn.Module) -> bool:
    """Whether what a clip gives is independent of its padding.

    A group norm averages over all of the input, padding included; the wav2vec 2.0 base models have one.
    """
    return not any(isinstance(module, torch.nn.GroupNorm) for module in model.modules())


def _frame_counter(model: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The function of a CTC model that gives numbers of output frames for numbers of samples or features.

    It has no public name. None for a model that has none of the usual ones.
    """
    names = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length")
    return next((getattr(model, name) for name in names if hasattr(model, name)), None)
