"""Speech and pauses: which stretches of a recording are utterances.

The voice activity detector is the Silero VAD (v6) that comes with faster-whisper: one speech probability per 32 ms
window. A recording is cut as a stream, so one of many hours needs no more memory than a short one. Utterances and gaps
tile the recording: every sample lies in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

from lanser_ops.audio.decode import SAMPLE_RATE

WINDOW = 512  # samples per speech probability of the VAD
# Recordings up to Whisper's window stay whole unless --max-duration asks for less.
WHOLE_S = 30.0
MAX_UTTERANCE_S = 20.0
# A pause this long ends an utterance that is long enough for a label of its own.
PAUSE_S = 0.3
AIM_MIN_S = 2.0
AIM_MAX_S = 15.0
# Longer pauses become gaps; shorter ones are divided between their neighbours.
MAX_INNER_PAUSE_S = 1.0
PAD_S = 0.2
BUFFER_S = 120.0


@dataclass(frozen=True)
class Stretch:
    """Samples [start, end) of a recording at 16 kHz; ``samples`` is None for a gap, which holds no speech."""

    start: int
    end: int
    samples: np.ndarray | None


def speech_probability(samples: np.ndarray) -> float:
    """The highest speech probability of any 32 ms window; 0.0 for no samples."""
    if not len(samples):
        return 0.0
    return float(get_vad_model()(np.pad(samples, (0, -len(samples) % WINDOW))).max())


def segment(blocks: Iterable[np.ndarray], max_duration_s: float | None = None) -> Iterator[Stretch]:
    """Cut a recording into utterances and gaps, in order, without overlap, covering all of it.

    ``blocks`` are consecutive float32 samples at 16 kHz. A recording of up to ``max_duration_s`` (by default 30 s)
    becomes a single utterance. A longer one is cut at pauses into utterances of at most ``max_duration_s`` (by default
    20 s), of 2 to 15 s where its pauses allow. Speech is cut only where it goes on for that long without a pause.
    """
    whole = int((max_duration_s or WHOLE_S) * SAMPLE_RATE)
    longest = max_duration_s or MAX_UTTERANCE_S
    buffer, origin, reached = np.zeros(0, np.float32), 0, 0
    capacity = max(whole + 1, int(max(BUFFER_S, 3 * longest) * SAMPLE_RATE))
    # What ends closer than this to the end of the buffer may continue after it.
    open_end = int((longest + 2 * PAD_S + 1.0) * SAMPLE_RATE)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        # Buffers of one size, so that the cuts do not depend on the size of the decoder's blocks.
        while len(buffer) > capacity:
            spans = utterance_spans(buffer[:capacity], longest)
            complete = [span for span in spans if span[1] <= capacity - open_end]
            for start, end in complete:
                yield from _with_gap(reached, origin + start, origin + end, buffer[start:end])
                reached = origin + end
            # Whatever is not complete is left for the next round, from its start.
            pending = min([capacity - open_end, *(start for start, _ in spans)])
            cut = complete[-1][1] if complete else pending
            buffer, origin = buffer[cut:], origin + cut
    total = origin + len(buffer)
    if total <= whole:
        if total:
            yield Stretch(0, total, buffer)
        return
    for start, end in utterance_spans(buffer, longest):
        yield from _with_gap(reached, origin + start, origin + end, buffer[start:end])
        reached = origin + end
    if reached < total:
        yield Stretch(reached, total, None)


def _with_gap(reached: int, start: int, end: int, samples: np.ndarray) -> Iterator[Stretch]:
    if reached < start:
        yield Stretch(reached, start, None)
    yield Stretch(start, end, samples)


def utterance_spans(samples: np.ndarray, longest_s: float) -> list[tuple[int, int]]:
    """[start, end) in samples of the utterances in ``samples`` (float32, 16 kHz), each at most ``longest_s`` long."""
    options = VadOptions(
        min_silence_duration_ms=int(PAUSE_S * 1000),
        speech_pad_ms=int(PAD_S * 1000),
        max_speech_duration_s=longest_s,
        min_speech_duration_ms=100,
    )
    longest, inner = int(longest_s * SAMPLE_RATE), int(MAX_INNER_PAUSE_S * SAMPLE_RATE)
    aim_min, aim_max = int(AIM_MIN_S * SAMPLE_RATE), min(longest, int(AIM_MAX_S * SAMPLE_RATE))
    spans: list[tuple[int, int]] = []
    for speech in get_speech_timestamps(samples, options):
        start, end = speech["start"], min(speech["end"], speech["start"] + longest)
        if spans:
            first, last = spans[-1]
            short = last - first < aim_min or end - start < aim_min
            if start - last <= inner and short and end - first <= aim_max:
                spans[-1] = (first, end)
                continue
        spans.append((start, end))
    # A pause too short to be a gap is divided between its neighbours, where neither becomes too long.
    for index in range(1, len(spans)):
        (first, last), (start, end) = spans[index - 1], spans[index]
        middle = (last + start) // 2
        if start - last <= inner and middle - first <= longest and end - middle <= longest:
            spans[index - 1], spans[index] = (first, middle), (middle, end)
    return spans
