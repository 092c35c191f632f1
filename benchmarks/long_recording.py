#!/usr/bin/env python3
"""``lanser transcribe`` of one long recording: memory, durations, and whether any speech is lost.

    python benchmarks/long_recording.py ../shared/data/transcribed --hours 3

The clips of the folder, each without the silence at its ends, are joined, with pauses of 0.5 to 4 s of faint noise, to
a FLAC file in a temporary folder. The peak is the maximum resident set size of the run's process according to the
kernel.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.audio.segment import MAX_UTTERANCE_S

Span = tuple[float, float]
FRAME = SAMPLE_RATE // 100


def without_ends(samples: np.ndarray, below_db: float = 40.0) -> np.ndarray:
    """``samples`` from the first to the last 10 ms that are at most ``below_db`` quieter than the loudest 10 ms."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = (frames.astype(np.float64) ** 2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-below_db / 10))
    return samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def write_recording(path: Path, folder: Path, hours: float) -> list[Span]:
    """Write the recording; returns [start, end) in seconds of every clip in it."""
    random = np.random.default_rng(0)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav", ".mp3", ".ogg"))
    spans, position = [], 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as out:
        for file in itertools.cycle(files):
            pause = random.normal(0, 3e-4, int(random.uniform(0.5, 4.0) * SAMPLE_RATE))
            with file.open("rb") as stream:
                speech = without_ends(read_all(stream))
            out.write(pause)
            out.write(speech)
            position += len(pause) + len(speech)
            spans.append(((position - len(speech)) / SAMPLE_RATE, position / SAMPLE_RATE))
            if position >= hours * 3600 * SAMPLE_RATE:
                return spans


def common(spans: list[Span], others: list[Span]) -> float:
    """Seconds that are in a span of both lists; each is sorted, and its spans do not overlap."""
    total, first, second = 0.0, 0, 0
    while first < len(spans) and second < len(others):
        (start, end), (low, high) = spans[first], others[second]
        total += max(0.0, min(end, high) - max(start, low))
        if end <= high:
            first += 1
        else:
            second += 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "in").mkdir()
        spoken = write_recording(Path(work, "in", "long.flac"), args.folder, args.hours)
        command = [sys.executable, "-m", "lanser_ops", "transcribe", "--input", f"{work}/in", "--output", f"{work}/out"]
        start = time.monotonic()
        with subprocess.Popen([*command, "--threads", str(args.threads)], stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        if status:
            raise SystemExit(f"lanser transcribe ended with status {status}")
        transcripts = pq.read_table(f"{work}/out/transcripts").to_pylist()
        rejects = pq.read_table(f"{work}/out/rejects").to_pylist()
    utterances = sorted((row["start_s"], row["end_s"]) for row in transcripts)
    longest = max(end - start for start, end in utterances)
    speech_s, recovered_s = sum(end - start for start, end in spoken), common(spoken, utterances)
    covered = sum(row["end_s"] - row["start_s"] for row in [*transcripts, *rejects])
    print(f"{spoken[-1][1] / 3600:.2f} h in {seconds:.0f} s, peak {usage.ru_maxrss / 1024:.0f} MB")
    print(f"{len(utterances)} utterances, the longest {longest:.2f} s (limit {MAX_UTTERANCE_S:g} s)")
    print(f"speech: {recovered_s:.0f} of {speech_s:.0f} s are in utterances ({100 * recovered_s / speech_s:.2f} %)")
    print(f"utterances last {sum(end - start for start, end in utterances):.0f} s; with rejects {covered:.0f} s")


if __name__ == "__main__":
    main()
