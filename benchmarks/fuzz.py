#!/usr/bin/env python3
"""Damaged audio files: whether each ends as audio or as a reject, how long it takes, and how much memory.

    python benchmarks/fuzz.py --mutants 2000

A short clip is written as wav, flac, mp3, ogg, m4a and webm, and mutants are made of them from the seed: bits and bytes
changed in the header or the body, numbers set to their extremes, stretches removed, doubled, swapped and cut off. Each
is decoded as the workers do it.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections import Counter
from collections.abc import Callable

import av
import numpy as np

from lanser_ops.audio import guarded
from lanser_ops.audio.decode import AudioError

Random = np.random.Generator
RATE = 16_000
CONTAINERS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "flac": ("flac", "flac", 16_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
    "ogg": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 16_000),
    "webm": ("webm", "libopus", 48_000),
}
HEADER_BYTES = 200
EXTREMES = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x80",
)


def encoded(kind: str, seconds: float = 2.0) -> bytes:
    """A chirp in that container."""
    form, codec, rate = CONTAINERS[kind]
    time_s = np.arange(int(seconds * rate)) / rate
    samples = (0.3 * np.sin(2 * np.pi * (200 + 300 * time_s) * time_s)).astype(np.float32)
    buffer = io.BytesIO()
    buffer.name = f"clip.{kind}"
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        frame.sample_rate = rate
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while part := fifo.read(size, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def flip(content: bytearray, place: int, random: Random) -> None:
    for _ in range(random.integers(1, 9) if content else 0):
        content[min(len(content) - 1, place + random.integers(16))] ^= 1 << random.integers(8)


def overwrite(content: bytearray, place: int, random: Random) -> None:
    noise = random.bytes(int(random.integers(1, 64)))
    content[place : place + len(noise)] = noise[: len(content) - place]


def extreme(content: bytearray, place: int, random: Random) -> None:
    """A number of 32 bits set to zero, or to the largest or smallest value."""
    content[place : place + 4] = EXTREMES[random.integers(len(EXTREMES))][: len(content) - place]


def remove(content: bytearray, place: int, random: Random) -> None:
    del content[place : place + random.integers(1, 400)]


def double(content: bytearray, place: int, random: Random) -> None:
    size = int(random.integers(1, 400))
    content[place:place] = content[place : place + size]


def cut(content: bytearray, place: int, random: Random) -> None:
    del content[place:]


MUTATIONS: tuple[Callable[[bytearray, int, Random], None], ...] = (flip, overwrite, extreme, remove, double, cut)


def changed(content: bytes, random: Random) -> bytes:
    """``content`` with one to three changes, half of which are among its first bytes."""
    changing = bytearray(content)
    for _ in range(random.integers(1, 4)):
        within = min(HEADER_BYTES, len(changing)) if random.random() < 0.5 else len(changing)
        MUTATIONS[random.integers(len(MUTATIONS))](changing, int(random.integers(max(1, within))), random)
    return bytes(changing)


def mutant(index: int, seed: int, contents: dict[str, bytes]) -> tuple[str, bytes]:
    """(container, content) of the mutant of that number."""
    kind = list(contents)[index % len(contents)]
    return kind, changed(contents[kind], np.random.default_rng([seed, index]))


def outcome(content: bytes) -> str:
    """``audio``, or the reason of the reject."""
    try:
        for block in guarded.decode(io.BytesIO(content)):
            assert block.dtype == np.float32 and np.isfinite(block).all()
    except AudioError as error:
        return error.reason
    return "audio"


def peak_memory_mb() -> float:
    """The most that any decoder's process has held so far."""
    guarded.close_idle()  # the system counts a process once it has ended
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    contents = {kind: encoded(kind) for kind in CONTAINERS}
    counts: Counter[tuple[str, str]] = Counter()
    slowest = 0.0
    for index in range(args.mutants):
        kind, content = mutant(index, args.seed, contents)
        start = time.monotonic()
        counts[kind, outcome(content)] += 1
        slowest = max(slowest, time.monotonic() - start)
    reasons = sorted({reason for _, reason in counts})
    print(f"{'':<6}" + "".join(f"{reason:>16}" for reason in reasons))
    for kind in CONTAINERS:
        print(f"{kind:<6}" + "".join(f"{counts[kind, reason]:>16}" for reason in reasons))
    print(f"{args.mutants} mutants: slowest {slowest:.2f} s, peak memory of a decoder {peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
