#!/usr/bin/env python3
"""Peak memory of ``lanser build`` over 200 and over 2,000 clips, side by side.

    python benchmarks/memory.py ../shared/data/ravdess

Clips are taken from the whole of the folder at even steps, so that both corpora are of the same kind (a few
clips are decoded again in Whisper's full window, and that is what takes the most memory), again from the
start where it has fewer. The peak is the largest resident set of the build's process, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (200, 2000)


def peak_of_build(clips: list[Path], work: Path, threads: int) -> tuple[float, float]:
    """(peak in MB, seconds) of a build over ``clips`` in a process of its own."""
    corpus = work / "corpus"
    corpus.mkdir(parents=True)
    for number, clip in enumerate(clips):
        (corpus / f"{number:05d}-{clip.name}").symlink_to(clip.resolve())
    command = [sys.executable, "-m", "lanser_ops", "build", "--input", str(corpus), "--output", str(work / "out")]
    command += ["--taxonomy", "ekman", "--threads", str(threads)]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the build of {len(clips)} clips ended with status {status}")
    return usage.ru_maxrss / 1024, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    recordings = sorted(path for path in args.folder.rglob("*") if path.suffix in (".flac", ".wav", ".mp3", ".ogg"))
    peaks = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as work:
            clips = [recordings[number * max(1, len(recordings) // size) % len(recordings)] for number in range(size)]
            peak, seconds = peak_of_build(clips, Path(work), args.threads)
            peaks.append(peak)
            print(f"{size:>5} clips: peak {peak:.0f} MB, {seconds:.0f} s", flush=True)
    print(f"difference: {100 * (peaks[1] / peaks[0] - 1):+.1f} %")


if __name__ == "__main__":
    main()
