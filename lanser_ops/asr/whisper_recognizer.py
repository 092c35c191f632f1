"""Speech recognition with faster-whisper models, without the cost of padding utterances to 30 s.

Whisper reads 30 s windows, and most emotional utterances are 2 to 6 s long. CTranslate2's encoder accepts shorter
windows, so an utterance gets a window of its own length and a margin, in whole seconds from 8 on, and is decoded in a
batch with other utterances of the same window. The window depends on the utterance alone, so its transcript does not
depend on its neighbours (except for the last bits, where a matrix product of another height may round differently).
With ``--short-windows`` some of the silence at the end is not encoded: the states of a silence that was encoded once
take its place. In short windows, timestamp tokens are decoded too: without them the decoder does not stop, and text
that they place after the end of the utterance is cut off. What still looks wrong is decoded again in the full window,
which takes no timestamps.

On a GPU all windows are full: there CTranslate2 applies its rules for timestamps on the host, token by token of the
vocabulary, while the GPU waits. On an H200, 64 clips of 2 s took 21 s in short windows (docs/performance.md).

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"
(https://arxiv.org/abs/2212.04356); thresholds of section 4.5.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from threadpoolctl import threadpool_limits

from lanser_ops.asr.base import Clip, Hypothesis, Rejection
from lanser_ops.asr.batches import decode_in_batches
from lanser_ops.asr.whisper_languages import language_code, language_token
from lanser_ops.asr.whisper_quality import WhisperOutput, flags_of, looks_wrong
from lanser_ops.asr.whisper_windows import (
    FULL_WINDOW,
    WINDOW_S,
    Window,
    encode,
    log_mel,
    seconds_of,
    silent_states,
    token_budget,
    window_of,
)
from lanser_ops.audio.decode import SAMPLE_RATE
from schemas.specs import TranscribeSpec

# Seconds of audio that are held and sorted by length at once: a few full batches, and a bound on memory.
POOL_SECONDS = {"cpu": 120.0, "cuda": 4800.0}
# Padded seconds of audio that each of the model's replicas encodes at once.
BATCH_SECONDS = {"cpu": 30.0, "cuda": 2400.0}
# With full windows a replica takes twice as much: one clip at a time is slower than all cores on a few clips.
FULL_WINDOW_FACTOR = 2
# Batches on one core each need a fifth less CPU time than one batch on all cores, whose threads wait for each other at
# every token. Memory bounds their number: each replica holds the attention caches of its own batch. From
# `MIN_CPU_REPLICAS` threads on there are as many replicas as leave the fewest cores idle (see `cpu_replicas`). Up to
# `MAX_CPU_REPLICAS` threads every batch is computed on one, so its results do not depend on the number of threads.
MIN_CPU_REPLICAS, MAX_CPU_REPLICAS = 8, 15
COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}
TIMESTAMP_S = 0.02
MAX_INITIAL_TIMESTAMP = 50
TAIL_S = 0.3
# An utterance counts as foreign only where the model is sure of its language.
SURE_LANGUAGE = 0.5


@dataclass
class WhisperRecognizer:
    """A loaded model and its options; ``batch_seconds`` shrinks where memory does not suffice.

    ``silence`` is `silent_states` of the model, empty where the options take none. With ``full_windows`` every window
    is full, whatever the options.
    """

    model: WhisperModel
    spec: TranscribeSpec
    silence: np.ndarray
    full_windows: bool = False
    replicas: int = 1
    batch_seconds: float = BATCH_SECONDS["cpu"]
    pool_seconds: float = POOL_SECONDS["cpu"]

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """Recognise ``clips`` (each at most 30 s), in their order.

        Raises ValueError for a clip that is longer than Whisper's window.
        """
        hypotheses: dict[int, Hypothesis] = {}
        accepted: dict[int, Clip] = {}
        for index, clip in enumerate(clips):
            if len(clip.samples) > WINDOW_S * SAMPLE_RATE:
                raise ValueError(f"{len(clip.samples) / SAMPLE_RATE:.1f} s do not fit Whisper's 30 s window")
            code = clip.language and language_code(clip.language)
            if clip.language and not code:
                hypotheses[index] = _rejected("language", f"Whisper knows no language {clip.language!r}")
            elif code and not self._knows(code):
                hypotheses[index] = _rejected("language", f"the model knows no language {clip.language!r}")
            else:
                accepted[index] = replace(clip, language=code)
        hypotheses |= zip(accepted, self._recognize(list(accepted.values())), strict=True)
        return [hypotheses[index] for index in range(len(clips))]

    def _knows(self, language: str) -> bool:
        """Whether a multilingual model has that language; an English one transcribes the others as English."""
        if not self.model.model.is_multilingual:
            return True
        return self.model.hf_tokenizer.token_to_id(language_token(language)) is not None

    def _recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        spec = self.spec
        full_windows = spec.exact or self.full_windows
        windows = [FULL_WINDOW if full_windows else window_of(clip, spec.short_windows) for clip in clips]
        outputs = _decode_all(self, clips, windows, self.replicas)
        doubted = [i for i, output in enumerate(outputs) if windows[i] != FULL_WINDOW and looks_wrong(output)]
        # One batch at a time: attention over a full window takes more memory than a whole batch of short ones.
        full = _decode_all(self, [clips[i] for i in doubted], [FULL_WINDOW] * len(doubted), replicas=1)
        for i, output in zip(doubted, full, strict=True):
            complete = outputs[i].truncated and not output.truncated
            if complete or output.avg_logprob > outputs[i].avg_logprob or not looks_wrong(output):
                outputs[i] = output
        return [self._judge(output, clip) for output, clip in zip(outputs, clips, strict=True)]

    def _judge(self, output: WhisperOutput, clip: Clip) -> Hypothesis:
        hypothesis = Hypothesis(
            text=output.text,
            avg_logprob=output.avg_logprob,
            language=output.language,
            no_speech_prob=output.no_speech_prob,
            compression_ratio=output.compression_ratio,
        )
        flags = flags_of(output)
        if output.foreign and self.spec.other_languages == "flag":
            flags = ("language", *flags)
        elif output.foreign:
            # Without the text, which --redact keeps out of everything but the transcripts.
            return replace(hypothesis, rejection=Rejection("language", f"it is {clip.language or output.language}"))
        return replace(hypothesis, flags=flags)


def _rejected(reason: str, detail: str) -> Hypothesis:
    return Hypothesis(text="", avg_logprob=0.0, rejection=Rejection(reason, detail))


def load_recognizer(spec: TranscribeSpec, device: str, threads: int) -> WhisperRecognizer:
    """Load a model from its directory; float16 on CUDA, int8 on CPU. ``threads`` 0: all cores.

    Limits numpy's BLAS to one thread: the log-mel products are too small for more, and a second thread, which waits
    busily between them, took a quarter of a build's processor time.
    """
    threadpool_limits(1, user_api="blas")
    threads = threads or os.cpu_count() or 1
    replicas = cpu_replicas(threads) if device == "cpu" else 1
    model = WhisperModel(
        spec.asr_model.path,
        device=device,
        compute_type=COMPUTE_TYPES[device],
        cpu_threads=threads // replicas,
        num_workers=replicas,
        local_files_only=True,
    )
    silence = silent_states(model) if spec.short_windows else np.empty((1, 0, 0), np.float32)
    full_windows = device == "cuda"
    return WhisperRecognizer(model, spec, silence, full_windows, replicas, BATCH_SECONDS[device], POOL_SECONDS[device])


def cpu_replicas(threads: int) -> int:
    """How many CTranslate2 replicas share ``threads`` equally: one per thread, or as many as leave the fewest idle.

    >>> [cpu_replicas(threads) for threads in (1, 8, 9, 15, 16, 18, 64)]
    [1, 8, 9, 15, 8, 9, 8]
    """
    if threads <= MAX_CPU_REPLICAS:
        return threads
    return min(range(MIN_CPU_REPLICAS, MAX_CPU_REPLICAS + 1), key=lambda replicas: (threads % replicas, replicas))


def _decode_all(
    recognizer: WhisperRecognizer, clips: Sequence[Clip], windows: Sequence[Window], replicas: int
) -> list[WhisperOutput]:
    """Decode every clip in its own window, clips of equal windows together."""

    def decode(batch: list[int]) -> list[WhisperOutput]:
        return _decode_batch(recognizer, [clips[index] for index in batch], windows[batch[0]])

    def split(remaining: Sequence[int]) -> list[list[int]]:
        # Costly batches first, so that no worker is left with a long one at the end.
        batches = _batches(remaining, clips, windows, recognizer.batch_seconds, replicas)
        return sorted(batches, key=lambda batch: -len(batch) * windows[batch[0]].encoded_s)

    return decode_in_batches(recognizer, len(clips), split, decode, replicas)


def _batches(
    indices: Sequence[int], clips: Sequence[Clip], windows: Sequence[Window], batch_seconds: float, replicas: int
) -> Iterator[list[int]]:
    """``indices`` in batches of one window and similar lengths, of at most ``batch_seconds`` of windows."""
    order = sorted(indices, key=lambda index: (windows[index], len(clips[index].samples), index))
    for window, same in itertools.groupby(order, key=lambda index: windows[index]):
        factor = FULL_WINDOW_FACTOR if window == FULL_WINDOW and replicas > 1 else 1
        group, size = list(same), max(1, int(factor * batch_seconds // window.encoded_s))
        yield from (group[first : first + size] for first in range(0, len(group), size))


def _decode_batch(recognizer: WhisperRecognizer, clips: Sequence[Clip], window: Window) -> list[WhisperOutput]:
    model, spec = recognizer.model, recognizer.spec
    features = np.stack([log_mel(model, clip.samples, window.encoded_s) for clip in clips])
    encoded = encode(model, features, recognizer.silence, window)
    languages = _languages(recognizer, encoded, clips)
    tokenizers = [_tokenizer(model, language) for language, _ in languages]
    prompts = [list(tokenizer.sot_sequence) for tokenizer in tokenizers]
    if window == FULL_WINDOW:
        prompts = [[*prompt, tokenizers[0].no_timestamps] for prompt in prompts]
    budget = token_budget(window.attended_s, model.max_length - len(prompts[0]))
    results = model.model.generate(
        encoded,
        prompts,
        beam_size=spec.beam_size,
        max_length=2 * budget,  # of which CTranslate2 generates one half at most, whatever the prompt's length
        suppress_blank=True,
        suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
        max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP,
        return_scores=True,
        return_no_speech_prob=True,
    )
    outputs = []
    for clip, result, tokenizer, (language, foreign) in zip(clips, results, tokenizers, languages, strict=True):
        tokens = result.sequences_ids[0]
        text_tokens, went_on = _before_end(tokens, tokenizer, seconds_of(clip))
        text = tokenizer.decode(text_tokens).strip()
        truncated = len(tokens) >= budget  # the end token is not among them
        output = WhisperOutput(
            text=text,
            seconds=seconds_of(clip),
            language=language,
            foreign=foreign,
            avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),  # the end token counts
            no_speech_prob=result.no_speech_prob,
            compression_ratio=get_compression_ratio(text) if text else 0.0,
            truncated=truncated,
            unfinished=truncated or went_on or _stops_early(tokens, tokenizer, seconds_of(clip)),
        )
        outputs.append(output)
    return outputs


@lru_cache(maxsize=128)
def _tokenizer(model: WhisperModel, language: str) -> Tokenizer:
    multilingual = model.model.is_multilingual
    return Tokenizer(model.hf_tokenizer, multilingual, task="transcribe", language=language)


def _languages(recognizer: WhisperRecognizer, encoded: object, clips: Sequence[Clip]) -> list[tuple[str, bool]]:
    """(language to decode in, whether it is foreign) of every clip; see `WhisperOutput`."""
    model, accepted = recognizer.model.model, recognizer.spec.languages
    if not model.is_multilingual:
        return [("en", clip.language not in (None, "en")) for clip in clips]
    stated = all(clip.language for clip in clips)
    rankings = [[]] * len(clips) if stated else model.detect_language(encoded)
    return [_language(clip.language, ranking, accepted) for clip, ranking in zip(clips, rankings, strict=True)]


def _language(stated: str | None, ranking: Sequence[tuple[str, float]], accepted: Sequence[str]) -> tuple[str, bool]:
    """`_languages` of one clip; ``ranking`` has the language tokens of the model, the likeliest first."""
    ranked = [(token.strip("<|>"), probability) for token, probability in ranking]
    best, probability = (stated, 1.0) if stated else ranked[0]
    if not accepted or best in accepted:
        return best, False
    # The likeliest accepted language, unless the model is sure that it is another, or has none of them.
    likeliest = next((language for language, _ in ranked if language in accepted), None)
    return (best, True) if likeliest is None or probability >= SURE_LANGUAGE else (likeliest, False)


def _before_end(tokens: Sequence[int], tokenizer: Tokenizer, seconds: float) -> tuple[list[int], bool]:
    """Text tokens up to the end of the audio, and whether there was text after it.

    A segment is <start> text <end>. One that starts at the end of the audio, or so shortly before it that nothing can
    be said in the remainder, was invented.
    """
    text_tokens: list[int] = []
    start = True
    beyond = False
    for token in tokens:
        if token >= tokenizer.timestamp_begin:
            time_s = (token - tokenizer.timestamp_begin) * TIMESTAMP_S
            beyond = start and time_s >= seconds - TAIL_S and bool(text_tokens)
            start = not start
        elif token < tokenizer.eot:
            if beyond:
                return text_tokens, True
            start = False
            text_tokens.append(token)
    return text_tokens, False


def _stops_early(tokens: Sequence[int], tokenizer: Tokenizer, seconds: float) -> bool:
    """Whether the decoder stopped at the end of a segment with the mark that the next one starts there.

    In 146 read clips it did so 5 times in the middle of a sentence, and never at the end of the speech.
    """
    last = [token - tokenizer.timestamp_begin for token in tokens[-2:]]
    return len(last) == 2 and min(last) >= 0 and last[1] * TIMESTAMP_S < seconds - TAIL_S
