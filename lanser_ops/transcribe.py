"""One work unit from source rows to transcripts and rejects: decode, cut, recognise, judge."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops import recordings, segment
from lanser_ops.asr import Clip, Hypothesis, language_code
from lanser_ops.audio import SAMPLE_RATE, AudioError, is_silent
from schemas.records import Reject, SourceRow, Transcript, make_reject, utterance_key

STAGE = "transcribe"
# Audio seconds that are held and ordered by length at once: some full batches, and a bound on memory.
POOL_SECONDS = {"cpu": 120.0, "cuda": 4800.0}
# Utterances decoded ahead of the recogniser.
AHEAD = 16
# Below this Silero's highest window is not worth asking the recogniser: of 1,440 acted RAVDESS clips the
# lowest maximum is 0.35, of 600 clips of noise and tones two thirds stay under 0.3.
MIN_SPEECH_PROBABILITY = 0.2
# Between the two, Whisper's own no-speech probability decides: over noise, tones and music-like sound it was
# 0.75 and more, over RAVDESS at most 0.5.
SURE_SPEECH_PROBABILITY = 0.97
MAX_NO_SPEECH = 0.6
# A row with a transcript is one utterance, however long; past this it is a mistake in the manifest.
MAX_GIVEN_S = 300.0


@dataclass(frozen=True)
class CutOptions:
    """``max_duration_s`` None: recordings up to 30 s stay whole, longer ones are cut at 20 s."""

    min_duration_s: float = 0.3
    max_duration_s: float | None = None


@dataclass(frozen=True)
class Utterance:
    """A stretch [start_s, end_s) of a source row with its float32 samples at 16 kHz."""

    row: SourceRow
    start_s: float
    end_s: float
    samples: np.ndarray


def transcribe_rows(
    rows: Sequence[SourceRow],
    roots: Sequence[str],
    recognize: Callable[[list[Clip]], list[Hypothesis]],
    options: CutOptions,
    pool_seconds: float = POOL_SECONDS["cpu"],
) -> tuple[list[Transcript], list[Reject]]:
    """Transcripts and rejects of ``rows``, each sorted by key. Every second of audio is in one or the other."""
    transcripts: dict[str, Transcript] = {}
    rejects: list[Reject] = []
    listed: set[str] = set()
    for pool in _pools(_ahead(utterances_of(rows, roots, options)), pool_seconds):
        waiting: list[tuple[Utterance, float]] = []
        for item in pool:
            if isinstance(item, Reject):
                rejects.append(item)
                continue
            key = utterance_key(item.row.source, item.start_s, item.end_s)
            if key in listed:
                rejects.append(_reject(item, "duplicate"))
                continue
            listed.add(key)
            probability = 0.0 if is_silent(item.samples) else 1.0
            if item.row.text is None and probability:
                probability = segment.speech_probability(item.samples)
            if probability < MIN_SPEECH_PROBABILITY:
                rejects.append(_reject(item, "no_speech"))
            elif item.end_s - item.start_s < options.min_duration_s:
                detail = f"{item.end_s - item.start_s:.2f} s, --min-duration is {options.min_duration_s:g} s"
                rejects.append(_reject(item, "too_short", detail))
            elif item.row.text is not None:
                _keep(transcripts, rejects, item, item.row.text.strip(), None)
            elif item.row.language and language_code(item.row.language) is None:
                rejects.append(_reject(item, "language", f"Whisper knows no language {item.row.language!r}"))
            else:
                waiting.append((item, probability))
        heard = recognize([_clip(item) for item, _ in waiting])
        for (item, probability), hypothesis in zip(waiting, heard, strict=True):
            if hypothesis.foreign:
                detail = f"it is {item.row.language or hypothesis.language}; heard: {hypothesis.text}"
                rejects.append(_reject(item, "language", detail))
            elif _words_over_noise(hypothesis, probability):
                rejects.append(
                    _reject(
                        item,
                        "no_speech",
                        f"no speech with probability {hypothesis.no_speech_prob:.2f}: {hypothesis.text}",
                    )
                )
            else:
                _keep(transcripts, rejects, item, hypothesis.text, hypothesis)
    return [transcripts[key] for key in sorted(transcripts)], _in_order(rejects)


def set_aside(rows: Sequence[SourceRow], detail: str) -> list[Reject]:
    """A reject for every row of a unit on which workers die, sorted as those of `transcribe_rows` are."""
    return _in_order([_row_reject(row, "gave_up", detail) for row in rows])


def _in_order(rejects: list[Reject]) -> list[Reject]:
    return sorted(rejects, key=lambda reject: (reject.key, reject.reason, reject.detail))


def utterances_of(rows: Sequence[SourceRow], roots: Sequence[str], options: CutOptions) -> Iterator[Utterance | Reject]:
    """Decode and cut; what cannot be decoded, gaps between utterances and scraps are rejects."""
    for group in recordings.by_recording(rows):
        if recordings.is_broken_tar(group[0]):
            yield _row_reject(group[0], "broken_tar")
            continue
        bounded = []
        for row in group:
            start, end = row.start_s or 0.0, row.end_s
            if start < 0 or (end is not None and end <= start):
                yield _row_reject(row, "bad_range", f"start_s {row.start_s}, end_s {row.end_s}")
            elif row.text is not None or (end is not None and end - start <= MAX_GIVEN_S):
                bounded.append(row)
            else:
                yield from _streamed(row, roots, options)
        if bounded:
            yield from _bounded(bounded, roots, options)


def _streamed(row: SourceRow, roots: Sequence[str], options: CutOptions) -> Iterator[Utterance | Reject]:
    """A whole recording, or a stretch of any length, cut while it is decoded."""
    first = recordings.to_samples(row.start_s or 0.0)
    last = None if row.end_s is None else recordings.to_samples(row.end_s)
    reached = first
    try:
        blocks = recordings.between(recordings.decode_recording(row, roots), first, last)
        for item in _cut(row, first, blocks, options):
            yield item
            reached = recordings.to_samples(item.end_s)
    except AudioError as error:
        # Utterances of a long recording that came before the fault are kept; the rest is one reject.
        start_s = reached / SAMPLE_RATE if reached > first else row.start_s
        yield make_reject(row.source, start_s, row.end_s, STAGE, _reason(error), error.detail)
    except OSError as error:
        yield _row_reject(row, "missing", _one_line(error))
    else:
        if reached == first:
            yield _row_reject(row, "bad_range", f"start_s {row.start_s} is after the end of the recording")


def _bounded(rows: list[SourceRow], roots: Sequence[str], options: CutOptions) -> Iterator[Utterance | Reject]:
    """Stretches short enough to hold, of one recording, in one pass over it."""
    ranges = []
    for row in rows:
        start = row.start_s or 0.0
        end = start + MAX_GIVEN_S + 1.0 if row.end_s is None else min(row.end_s, start + MAX_GIVEN_S + 1.0)
        ranges.append((recordings.to_samples(start), recordings.to_samples(end)))
    left = set(range(len(rows)))
    try:
        for index, samples in recordings.cut_blocks(recordings.decode_recording(rows[0], roots), ranges):
            row, first = rows[index], ranges[index][0]
            left.discard(index)
            if not len(samples):
                yield _row_reject(row, "bad_range", f"start_s {row.start_s} is after the end of the recording")
            elif row.text is None:
                yield from _cut(row, first, [samples], options)
            elif len(samples) > MAX_GIVEN_S * SAMPLE_RATE:
                yield _row_reject(row, "too_long", f"a row with a transcript holds at most {MAX_GIVEN_S:.0f} s")
            else:
                yield _utterance(row, first, samples)
    except AudioError as error:
        yield from (_row_reject(rows[index], _reason(error), error.detail) for index in sorted(left))
    except OSError as error:
        yield from (_row_reject(rows[index], "missing", _one_line(error)) for index in sorted(left))


def _cut(row: SourceRow, first: int, blocks: Iterable[np.ndarray], options: CutOptions) -> Iterator[Utterance | Reject]:
    """Segment ``blocks``, which start at sample ``first`` of the recording."""
    for stretch in segment.segment(blocks, options.max_duration_s):
        if stretch.samples is None:
            start_s, end_s = (first + stretch.start) / SAMPLE_RATE, (first + stretch.end) / SAMPLE_RATE
            yield make_reject(row.source, start_s, end_s, STAGE, "no_speech", "a pause in a long recording")
        else:
            yield _utterance(row, first + stretch.start, stretch.samples)


def _utterance(row: SourceRow, first: int, samples: np.ndarray) -> Utterance:
    return Utterance(row, first / SAMPLE_RATE, (first + len(samples)) / SAMPLE_RATE, samples)


def _clip(utterance: Utterance) -> Clip:
    given = utterance.row.language
    return Clip(utterance.samples, language_code(given) if given else None)


def _row_reject(row: SourceRow, reason: str, detail: str = "") -> Reject:
    return make_reject(row.source, row.start_s, row.end_s, STAGE, reason, detail)


def _reject(utterance: Utterance, reason: str, detail: str = "") -> Reject:
    return make_reject(utterance.row.source, utterance.start_s, utterance.end_s, STAGE, reason, detail)


def _reason(error: AudioError) -> str:
    """To a reader of rejects, a file without samples is one without speech."""
    return "no_speech" if error.reason == "empty" else error.reason


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _words_over_noise(heard: Hypothesis, speech_probability: float) -> bool:
    return speech_probability < SURE_SPEECH_PROBABILITY and heard.no_speech_prob > MAX_NO_SPEECH


def _keep(
    transcripts: dict[str, Transcript],
    rejects: list[Reject],
    utterance: Utterance,
    text: str,
    heard: Hypothesis | None,
) -> None:
    """File the utterance under its key, or reject it where its text has no letters."""
    if not any(char.isalpha() for char in text):
        rejects.append(_reject(utterance, "no_text", f"the transcript is {text!r}"))
        return
    row, start_s, end_s = utterance.row, utterance.start_s, utterance.end_s
    key = utterance_key(row.source, start_s, end_s)
    transcripts[key] = Transcript(
        key=key,
        source=row.source,
        start_s=start_s,
        end_s=end_s,
        duration_s=end_s - start_s,
        text=text,
        language=heard.language if heard else row.language,
        avg_logprob=heard.avg_logprob if heard else None,
        no_speech_prob=heard.no_speech_prob if heard else None,
        compression_ratio=heard.compression_ratio if heard else None,
        flags=heard.flags if heard else (),
        speaker=row.speaker,
    )


def _pools(items: Iterable[Utterance | Reject], pool_seconds: float) -> Iterator[list[Utterance | Reject]]:
    """Runs of items of about ``pool_seconds`` of audio; where they end depends on the items alone."""
    pool: list[Utterance | Reject] = []
    seconds = 0.0
    for item in items:
        pool.append(item)
        seconds += item.end_s - item.start_s if isinstance(item, Utterance) else 0.0
        if seconds >= pool_seconds:
            yield pool
            pool, seconds = [], 0.0
    if pool:
        yield pool


def _ahead(items: Iterator[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """The same items, made in a thread of their own so that decoding runs beside recognition."""
    end = object()
    stop = threading.Event()
    waiting: queue.Queue = queue.Queue(maxsize=AHEAD)

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.5)
                return
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:  # handed to the consumer, who raises it
            put(error)

    thread = threading.Thread(target=fill, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
