"""Speech and pauses: which stretches of a recording are utterances.

The voice activity detector is the Silero VAD (v6) that faster-whisper carries: one speech probability
for every 32 ms window. A recording is cut in a stream, so hours-long ones need no more memory than
short ones, and what is cut out tiles the recording: every second lies in an utterance or in a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

from lanser_ops.audio.decode import SAMPLE_RATE

WINDOW = 512  # samples, the VAD's own
# Recordings up to Whisper's window stay whole unless --max-duration asks for less.
WHOLE_S = 30.0
MAX_UTTERANCE_S = 20.0
# A pause this long ends an utterance that has reached the length worth a label on its own.
PAUSE_S = 0.3
AIM_MIN_S = 2.0
AIM_MAX_S = 15.0
# Pauses longer than this are cut out; shorter ones are shared between their neighbours.
MAX_INNER_PAUSE_S = 1.0
PAD_S = 0.2
BUFFER_S = 120.0


@dataclass(frozen=True)
class Stretch:
    """Samples [start, end) of a recording; ``samples`` is None for a gap, which holds no speech."""

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

    ``blocks`` are consecutive float32 samples at 16 kHz. A recording of up to ``max_duration_s`` (by
    default 30 s) is one utterance as it is. A longer one is cut at pauses into utterances of at most
    ``max_duration_s`` (by default 20 s), of 2 to 15 s where its pauses allow.
    """
    whole = int((max_duration_s or WHOLE_S) * SAMPLE_RATE)
    longest = max_duration_s or MAX_UTTERANCE_S
    buffer, origin, reached = np.zeros(0, np.float32), 0, 0
    capacity = max(whole + 1, int(max(BUFFER_S, 3 * longest) * SAMPLE_RATE))
    held = int((longest + 2 * PAD_S + 1.0) * SAMPLE_RATE)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        # Whole buffers of one size, so that the cuts do not depend on the size of the decoder's blocks.
        while len(buffer) > capacity:
            # What ends close to the edge of the buffer may go on beyond it: leave it for the next round.
            settled = [span for span in utterance_spans(buffer[:capacity], longest) if span[1] <= capacity - held]
            for start, end in settled:
                yield from _with_gap(reached, origin + start, origin + end, buffer[start:end])
                reached = origin + end
            cut = settled[-1][1] if settled else capacity - held
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
    """[start, end) of the utterances of a stretch of audio, each at most ``longest_s`` long."""
    options = VadOptions(
        min_silence_duration_ms=int(PAUSE_S * 1000),
        speech_pad_ms=int(PAD_S * 1000),
        max_speech_duration_s=longest_s,
        min_speech_duration_ms=100,
    )
    found = [(speech["start"], speech["end"]) for speech in get_speech_timestamps(samples, options)]
    longest, inner = int(longest_s * SAMPLE_RATE), int(MAX_INNER_PAUSE_S * SAMPLE_RATE)
    aim_min, aim_max = int(AIM_MIN_S * SAMPLE_RATE), min(longest, int(AIM_MAX_S * SAMPLE_RATE))
    spans: list[tuple[int, int]] = []
    for start, end in found:
        end = min(end, start + longest)
        if spans:
            first, last = spans[-1]
            short = last - first < aim_min or end - start < aim_min
            if start - last <= inner and short and end - first <= aim_max:
                spans[-1] = (first, end)
                continue
        spans.append((start, end))
    # A pause too short for a row of its own is shared by its neighbours, where neither grows too long.
    for index in range(1, len(spans)):
        (first, last), (start, end) = spans[index - 1], spans[index]
        middle = (last + start) // 2
        if start - last <= inner and middle - first <= longest and end - middle <= longest:
            spans[index - 1], spans[index] = (first, middle), (middle, end)
    return spans
