"""Builds and relabels in a row, with kills at random moments and a bad file in a hundred: what is lost, and the memory.

    python -m benchmarks.soak --minutes 30 --folder /tmp/soak

Every round takes eight other recordings of examples/audio, builds them and relabels the shards. Half of the jobs are
killed, at moments drawn from the seed, and started again. At the end of each `lanser verify` must pass. One file in a
hundred is bad: cut and overwritten, empty, or noise. Prints a line per job, and a summary.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.fault_cases.injections import milestone
from benchmarks.fault_cases.jobs import EXAMPLES, POLL_S, Job, Process, build, relabel, run

FILES = 8
BAD_EVERY = 100
BAD_KINDS = ("corrupt", "empty", "noise")


@dataclass(frozen=True)
class JobRun:
    """A job that ran to its end; ``killed`` says how far it was when it was killed, empty if it was not."""

    name: str
    killed: str
    processor_s: float
    peak_mb: float
    verified: bool


def recordings(seed: int) -> Iterator[Path]:
    """Those of examples/audio, over and over in another order."""
    paths = sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.parent.name != "broken")
    order = random.Random(seed)
    while True:
        yield from order.sample(paths, len(paths))


def bad_content(kind: str, path: Path, number: int) -> bytes:
    """A file of that kind: ``path`` cut and overwritten, nothing, or 2 s of white noise."""
    if kind == "empty":
        return b""
    random = np.random.default_rng(number)
    if kind == "noise":
        noise = path.with_suffix(".wav")
        soundfile.write(noise, random.normal(0, 0.2, 32_000), 16_000)
        return noise.read_bytes()
    content = path.read_bytes()
    middle = len(content) // 2
    return content[: middle // 2] + random.bytes(middle // 2)


def write_corpus(folder: Path, sources: Iterator[Path], first: int) -> list[str]:
    """Write the files of a round, numbered from ``first``; returns the kinds of the bad ones among them."""
    folder.mkdir()
    bad = []
    for number in range(first, first + FILES):
        source = next(sources)
        copy = folder / f"{number:05}-{source.name}"
        shutil.copy(source, copy)
        if number % BAD_EVERY == BAD_EVERY // 10:
            bad.append(BAD_KINDS[number // BAD_EVERY % len(BAD_KINDS)])
            copy.write_bytes(bad_content(bad[-1], copy, number))
    return bad


def observe(process: Process, kill_s: float | None) -> tuple[float, float]:
    """Wait for the end of ``process``, or kill it after that much processor time: seconds of it, and peak MB."""
    seconds = peak_mb = 0.0
    while process.status() is None:
        seconds, peak_mb = max(seconds, process.processor_s()), max(peak_mb, process.peak_mb())
        if kill_s is not None and seconds >= kill_s:
            process.kill()
        time.sleep(2 * POLL_S)
    return seconds, peak_mb


def run_job(job: Job, output: Path, kill_s: float | None) -> JobRun:
    """Run ``job`` to its end, after a kill at that much processor time if ``kill_s`` is given, and verify it."""
    killed = ""
    process = Process(job.command(output))
    seconds, peak_mb = observe(process, kill_s)
    if process.status() == -signal.SIGKILL:
        killed = milestone(output)
        process = Process(job.rerun(output))
        resumed_s, resumed_mb = observe(process, None)
        seconds, peak_mb = seconds + resumed_s, max(peak_mb, resumed_mb)
    outcome = process.wait()
    if outcome.status != 0:
        raise SystemExit(f"{job.name} ended with {outcome.status}: {outcome.stderr}")
    return JobRun(job.name, killed, seconds, peak_mb, run(["verify", str(output)]).status == 0)


def counts(output: Path) -> str:
    (entry,) = json.loads((output / "dataset.json").read_text())["taxonomies"].values()
    rejects = entry["accounts"]["rejects"]
    return f"{entry['accounts']['samples']} samples, rejects {json.dumps(rejects) if rejects else 'none'}"


def summary(runs: list[JobRun], files: int, bad: list[str], minutes: float) -> Iterator[str]:
    kills = sum(bool(each.killed) for each in runs)
    verified = sum(each.verified for each in runs)
    counted = f"{len(runs)} jobs, {kills} kills, {files} files, {len(bad)} of them bad ({', '.join(bad)})"
    yield f"{minutes:.0f} minutes: {counted}; {verified} of {len(runs)} verified"
    for name in ("build", "relabel"):
        peaks = [each.peak_mb for each in runs if each.name == name]
        quarter = max(1, len(peaks) // 4)
        first, last = statistics.median(peaks[:quarter]), statistics.median(peaks[-quarter:])
        yield f"peak memory of a {name}: {first:.0f} MB in the first quarter, {last:.0f} MB in the last (medians)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, required=True, help="for corpora and outputs; emptied every round")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.monotonic()
    sources, moments = recordings(args.seed), random.Random(args.seed)
    runs: list[JobRun] = []
    bad: list[str] = []
    files = 0
    while time.monotonic() < start + 60 * args.minutes:
        shutil.rmtree(args.folder, ignore_errors=True)
        args.folder.mkdir(parents=True)
        kinds = write_corpus(args.folder / "corpus", sources, files)
        files, bad = files + FILES, bad + kinds
        built = args.folder / "build"
        for job, output in ((build(args.folder / "corpus"), built), (relabel(built), args.folder / "relabel")):
            usual_s = min((each.processor_s for each in runs if each.name == job.name), default=1.0)
            runs.append(run_job(job, output, moments.uniform(0, usual_s) if moments.random() < 0.5 else None))
            last = runs[-1]
            line = f"job {len(runs)}: {last.name}, {f'killed at {last.killed}' if last.killed else 'not killed'}"
            line += f"{', bad: ' + ', '.join(kinds) if kinds else ''}; {counts(output)}; "
            line += f"peak {last.peak_mb:.0f} MB; {'verified' if last.verified else 'VERIFY FAILED'}"
            print(f"{(time.monotonic() - start) / 60:5.1f} min  {line}", flush=True)
    print("\n".join(summary(runs, files, bad, (time.monotonic() - start) / 60)))
    if not all(each.verified for each in runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
