"""Speech recognition with faster-whisper models, without paying for silence.

Whisper reads 30 s windows, and most emotional utterances are 2 to 6 s long. CTranslate2's encoder takes
shorter ones, so an utterance gets a window of its own length and a margin, in whole seconds from 8 on,
and is decoded beside utterances of other recordings that have the same window. The window depends on
the utterance alone, so its transcript does not depend on its neighbours (but for the last bits that a
matrix product of another height may change). Timestamp tokens are decoded too: without them the decoder
does not stop in a short window, and text that they place after the end of the utterance is cut off.
What still looks wrong is decoded again in the full window, which takes no timestamps.

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"
(https://arxiv.org/abs/2212.04356); thresholds of section 4.5.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from threadpoolctl import threadpool_limits

from lanser_ops.asr.base import Clip, Hypothesis, Rejection
from lanser_ops.asr.quality import flags_of, is_words_over_noise, looks_wrong
from lanser_ops.asr.whisper import language_code, resolve_device
from lanser_ops.audio.decode import SAMPLE_RATE
from schemas.specs import TranscribeSpec

WINDOW_S = 30
# In windows under 8 s the decoder often goes on after the speech, whatever the margin: tiny.en did so in 222 of
# 480 RAVDESS clips (some 3.7 s long) with 2 s of margin, 9 of them in windows over 6 s, and in 3 with 4 s.
MIN_WINDOW_S = 8
MARGIN_S = 3.0
# From here on the full window costs little more, and takes no timestamps: with them the decoder ends some
# utterances of 25 s at a pause (14.7 % of words wrong instead of 8.4 in joined read speech).
LONG_WINDOW_S = 25
# Audio seconds that are held and ordered by length at once: some full batches, and a bound on memory.
POOL_SECONDS = {"cpu": 120.0, "cuda": 4800.0}
# Padded seconds of audio that are encoded at once, by each of the model's workers.
BATCH_SECONDS = {"cpu": 30.0, "cuda": 2400.0}
# With full windows a worker takes twice as much: one clip at a time is slower than all cores on a few.
FULL_WINDOW_FACTOR = 2
# Batches of a core each need a fifth less CPU time than one batch on all cores, whose threads wait for each
# other at every token; and what a batch gives then does not depend on the number of cores. Memory bounds it.
MAX_CPU_WORKERS = 8
COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}
# Speech is at most some 8 tokens a second; a loop would otherwise hold its whole batch to the model's limit.
TOKENS_PER_SECOND = 12
TIMESTAMP_S = 0.02
FRAMES_PER_SECOND = 100
FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
# After so many frames a spectrum's window of 400 samples holds nothing of the audio before.
SILENT_FRAMES = 5
MAX_INITIAL_TIMESTAMP = 50
TAIL_S = 0.3
# A language is called foreign only where the model is sure of it.
SURE_LANGUAGE = 0.5

log = logging.getLogger(__name__)


@dataclass
class WhisperRecognizer:
    """A loaded model and how it is to be used; ``batch_seconds`` shrinks where memory does not suffice."""

    model: WhisperModel
    spec: TranscribeSpec
    workers: int = 1
    batch_seconds: float = BATCH_SECONDS["cpu"]
    pool_seconds: float = POOL_SECONDS["cpu"]

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """Recognise ``clips`` (each at most 30 s), in their order.

        Raises ValueError for a clip that is longer than Whisper's window.
        """
        for clip in clips:
            if len(clip.samples) > WINDOW_S * SAMPLE_RATE:
                raise ValueError(f"{len(clip.samples) / SAMPLE_RATE:.1f} s do not fit Whisper's 30 s window")
        hypotheses: dict[int, Hypothesis] = {}
        known: list[int] = []
        for index, clip in enumerate(clips):
            if clip.language and language_code(clip.language) is None:
                hypotheses[index] = _rejected("language", f"Whisper knows no language {clip.language!r}")
            else:
                known.append(index)
        speakable = [replace(clip, language=clip.language and language_code(clip.language)) for clip in clips]
        hypotheses |= zip(known, self._recognize([speakable[index] for index in known]), strict=True)
        return [hypotheses[index] for index in range(len(clips))]

    def _recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        windows = [WINDOW_S if self.spec.exact else window_of(clip) for clip in clips]
        heard = _decode_all(self, clips, windows, self.workers)
        again = [
            index
            for index, (clip, one) in enumerate(zip(clips, heard, strict=True))
            if windows[index] < WINDOW_S and looks_wrong(one.hypothesis, _seconds(clip), one.unfinished)
        ]
        # One at a time: attention over a full window takes more memory than all the short ones of a batch.
        full = _decode_all(self, [clips[index] for index in again], [WINDOW_S] * len(again), workers=1)
        for index, one in zip(again, full, strict=True):
            better = one.hypothesis.avg_logprob > heard[index].hypothesis.avg_logprob
            if better or not looks_wrong(one.hypothesis, _seconds(clips[index]), one.unfinished):
                heard[index] = one
        return [self._judged(one, clip) for clip, one in zip(clips, heard, strict=True)]

    def _judged(self, heard: _Heard, clip: Clip) -> Hypothesis:
        hypothesis = heard.hypothesis
        flags = flags_of(hypothesis, _seconds(clip))
        if heard.foreign and self.spec.other_languages == "flag":
            flags = ("language", *flags)
        elif heard.foreign:
            detail = f"it is {clip.language or hypothesis.language}; heard: {hypothesis.text}"
            return replace(hypothesis, rejection=Rejection("language", detail))
        if is_words_over_noise(hypothesis, clip.speech_probability):
            detail = f"no speech with probability {hypothesis.no_speech_prob:.2f}: {hypothesis.text}"
            return replace(hypothesis, rejection=Rejection("no_speech", detail))
        return replace(hypothesis, flags=flags)


def _rejected(reason: str, detail: str) -> Hypothesis:
    return Hypothesis(text="", avg_logprob=0.0, rejection=Rejection(reason, detail))


def load_recognizer(spec: TranscribeSpec, device: str, threads: int) -> WhisperRecognizer:
    """Load a model from its directory; float16 on CUDA, int8 on CPU. ``threads`` 0: all cores.

    Leaves numpy's BLAS at one thread: the log-mel products are too small for more, and a second one, which waits
    busily between them, took a quarter of a build's processor time.
    """
    threadpool_limits(1, user_api="blas")
    device = resolve_device(device)
    threads = threads or os.cpu_count() or 1
    workers = min(threads, MAX_CPU_WORKERS) if device == "cpu" else 1
    model = WhisperModel(
        spec.asr_model.path,
        device=device,
        compute_type=COMPUTE_TYPES[device],
        cpu_threads=threads // workers,
        num_workers=workers,
        local_files_only=True,
    )
    return WhisperRecognizer(model, spec, workers, BATCH_SECONDS[device], POOL_SECONDS[device])


@dataclass(frozen=True)
class _Heard:
    hypothesis: Hypothesis
    foreign: bool
    unfinished: bool  # ran into the token limit, went on after the end of the audio or stopped before it


def _seconds(clip: Clip) -> float:
    return len(clip.samples) / SAMPLE_RATE


def window_of(clip: Clip) -> int:
    """Seconds of the window that ``clip`` is recognised in."""
    window = max(MIN_WINDOW_S, math.ceil(_seconds(clip) + MARGIN_S))
    return window if window < LONG_WINDOW_S else WINDOW_S


def _decode_all(
    recognizer: WhisperRecognizer, clips: Sequence[Clip], windows: Sequence[int], workers: int
) -> list[_Heard]:
    """Decode every clip in its own window (whole seconds), clips of equal windows together."""
    heard: dict[int, _Heard] = {}

    def decode(batch: list[int]) -> list[_Heard]:
        return _decode_batch(recognizer, [clips[index] for index in batch], windows[batch[0]])

    with ThreadPoolExecutor(workers) as pool:
        while len(heard) < len(clips):
            # The costly ones first, so that no worker is left with a long one at the end.
            waiting = [index for index in range(len(clips)) if index not in heard]
            batches = list(_batches(waiting, clips, windows, recognizer.batch_seconds, workers))
            batches.sort(key=lambda batch: -len(batch) * windows[batch[0]])
            try:
                for batch, results in zip(batches, pool.map(decode, batches), strict=True):
                    heard.update(zip(batch, results, strict=True))
            except RuntimeError as error:
                if "out of memory" not in str(error).lower() or all(len(batch) == 1 for batch in batches):
                    raise
                recognizer.batch_seconds /= 2
                log.warning("out of memory: going on with %.0f s of audio at once", recognizer.batch_seconds)
    return [heard[index] for index in range(len(clips))]


def _batches(
    indices: Sequence[int], clips: Sequence[Clip], windows: Sequence[int], batch_seconds: float, workers: int
) -> Iterator[list[int]]:
    """``indices`` of one window together, of similar length, at most ``batch_seconds`` of windows at once."""
    order = sorted(indices, key=lambda index: (windows[index], len(clips[index].samples), index))
    for window, same in itertools.groupby(order, key=lambda index: windows[index]):
        factor = FULL_WINDOW_FACTOR if window == WINDOW_S and workers > 1 else 1
        group, size = list(same), max(1, int(factor * batch_seconds // window))
        yield from (group[first : first + size] for first in range(0, len(group), size))


def _decode_batch(recognizer: WhisperRecognizer, clips: Sequence[Clip], window: int) -> list[_Heard]:
    model, spec = recognizer.model, recognizer.spec
    features = np.stack([_log_mel(model, clip.samples, window) for clip in clips])
    encoded = model.encode(features)
    languages = _languages(recognizer, encoded, clips)
    tokenizers = [_tokenizer(model, language) for language, _ in languages]
    prompts = [list(tokenizer.sot_sequence) for tokenizer in tokenizers]
    if window == WINDOW_S:
        prompts = [[*prompt, tokenizers[0].no_timestamps] for prompt in prompts]
    limit = min(model.max_length, 16 + TOKENS_PER_SECOND * window)
    results = model.model.generate(
        encoded,
        prompts,
        beam_size=spec.beam_size,
        max_length=limit,
        suppress_blank=True,
        suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
        max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP,
        return_scores=True,
        return_no_speech_prob=True,
    )
    heard = []
    for clip, result, tokenizer, (language, foreign) in zip(clips, results, tokenizers, languages, strict=True):
        tokens = result.sequences_ids[0]
        kept, went_on = _before_end(tokens, tokenizer, _seconds(clip))
        text = tokenizer.decode(kept).strip()
        hypothesis = Hypothesis(
            text=text,
            language=language,
            avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),  # the end token counts
            no_speech_prob=result.no_speech_prob,
            compression_ratio=get_compression_ratio(text) if text else 0.0,
        )
        too_long = len(tokens) + len(prompts[0]) >= limit
        heard.append(
            _Heard(hypothesis, foreign, went_on or too_long or _more_to_come(tokens, tokenizer, _seconds(clip)))
        )
    return heard


def _log_mel(model: WhisperModel, samples: np.ndarray, window: int) -> np.ndarray:
    """Log-mel spectrogram, float32 (mels, 100 frames a second of ``window``), padded with silence.

    All frames of silence are alike: only the first few are computed.
    """
    frames = window * FRAMES_PER_SECOND
    whole = -(-len(samples) // FRAME) * FRAME + SILENT_FRAMES * FRAME
    padded = np.pad(samples, (0, min(whole, window * SAMPLE_RATE) - len(samples)))
    features = model.feature_extractor(padded, padding=0)
    features = np.pad(features, ((0, 0), (0, frames - features.shape[1])), mode="edge")
    return np.ascontiguousarray(features, dtype=np.float32)


@lru_cache(maxsize=128)
def _tokenizer(model: WhisperModel, language: str) -> Tokenizer:
    multilingual = model.model.is_multilingual
    return Tokenizer(model.hf_tokenizer, multilingual, task="transcribe", language=language)


def _languages(recognizer: WhisperRecognizer, encoded: object, clips: Sequence[Clip]) -> list[tuple[str, bool]]:
    """(language to decode in, whether it is outside the wanted ones or the model's) of every clip."""
    wanted = recognizer.spec.languages
    if not recognizer.model.model.is_multilingual:
        return [("en", clip.language not in (None, "en")) for clip in clips]
    if all(clip.language for clip in clips):
        return [(clip.language, bool(wanted) and clip.language not in wanted) for clip in clips]
    found = []
    for clip, ranked in zip(clips, recognizer.model.model.detect_language(encoded), strict=True):
        ranked = [(token.strip("<|>"), probability) for token, probability in ranked]
        best, probability = (clip.language, 1.0) if clip.language else ranked[0]
        if not wanted or best in wanted:
            found.append((best, False))
        elif probability >= SURE_LANGUAGE:
            found.append((best, True))
        else:
            found.append((next(language for language, _ in ranked if language in wanted), False))
    return found


def _before_end(tokens: Sequence[int], tokenizer: Tokenizer, seconds: float) -> tuple[list[int], bool]:
    """Text tokens up to the end of the audio, and whether there was text after it.

    A segment is <start> text <end>; one that starts at the end of the audio, or so shortly before it that
    nothing can be said in what is left, was invented.
    """
    kept: list[int] = []
    start = True
    beyond = False
    for token in tokens:
        if token >= tokenizer.timestamp_begin:
            at = (token - tokenizer.timestamp_begin) * TIMESTAMP_S
            beyond = start and at >= seconds - TAIL_S and bool(kept)
            start = not start
        elif token < tokenizer.eot:
            if beyond:
                return kept, True
            start = False
            kept.append(token)
    return kept, False


def _more_to_come(tokens: Sequence[int], tokenizer: Tokenizer, seconds: float) -> bool:
    """Whether the decoder stopped at a segment's end with the mark that the next one starts there.

    In 146 read clips it did so 5 times in the middle of a sentence, and never at the end of the speech.
    """
    last = [token - tokenizer.timestamp_begin for token in tokens[-2:]]
    return len(last) == 2 and min(last) >= 0 and last[1] * TIMESTAMP_S < seconds - TAIL_S
