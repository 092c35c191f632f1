"""Kills, full and read-only disks, signals, jumping clocks, second jobs: after each a rerun, which must be whole.

    python -m benchmarks.faults --folder /tmp/faults [--kills 50] [--minutes 5]

A build, a relabel and a pretrain of a few seconds run undisturbed, then once for each fault and again after it:
`lanser verify` must pass, and the files must have the bytes of the undisturbed run. Moments are drawn from the seed
over the processor time between the first file of the job and its end, since the time by the clock depends on what else
runs. Results are lines of FOLDER/results.jsonl; cases that are there are not run again, so that the same command
continues, and prints the table when all are done. Mounting needs root.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.fault_cases import injections
from benchmarks.fault_cases.injections import CleanRun, at_processor_time
from benchmarks.fault_cases.jobs import Job, build, pretrain, relabel, write_corpus

RESULTS, CLEAN = "results.jsonl", "clean.json"
# How many of 50 kills hit each job, the shortest one first.
KILLS = {"pretrain": 17, "relabel": 17, "build": 16}
# The last file that matches has no room on the disk. Of the labels it is the first: later ones need no more than the
# mark of an attempt, which has gone by then.
FULL = {
    "build": (
        *("plan.parquet", "transcripts/*.parquet", "scores/*/*.parquet", "labels/*/part-00000*"),
        *("shards/*/*.tar", "report.html"),
    ),
    "relabel": ("transcripts/*.parquet", "shards/*/*.tar"),
    "pretrain": ("best/*", "checkpoints/*/optimizer.pt"),
}


@dataclass(frozen=True)
class Case:
    """A fault: ``run`` injects it with the output at a path, and returns what is worth knowing of it."""

    kind: str
    job: str
    number: int
    run: Callable[[Path], str]


@dataclass(frozen=True)
class Result:
    """What became of a case; ``fault`` is empty where the rerun was whole."""

    kind: str
    job: str
    number: int
    detail: str
    fault: str
    seconds: float


def clean_runs(folder: Path) -> tuple[dict[str, Job], dict[str, CleanRun]]:
    """The jobs and their undisturbed runs below ``folder``/clean, which an earlier call may have done."""
    corpus, clean = folder / "corpus", folder / "clean"
    jobs = {"build": build(corpus), "relabel": relabel(clean / "build"), "pretrain": pretrain(clean / "build")}
    path = folder / CLEAN
    if not path.exists():
        shutil.rmtree(clean, ignore_errors=True)
        write_corpus(corpus)
        runs = {name: injections.run_clean(job, clean / name) for name, job in jobs.items()}
        path.write_text(json.dumps({name: asdict(run) for name, run in runs.items()}))
    return jobs, {name: CleanRun(**fields) for name, fields in json.loads(path.read_text()).items()}


def kill_moments(job: str, run: CleanRun, kills: int, seed: int) -> list[float]:
    """Seconds of processor time, drawn evenly from the first file of the job to its end."""
    moments = random.Random(f"{seed} {job}")
    return [moments.uniform(run.first_s, run.total_s) for _ in range(round(kills * KILLS[job] / 50))]


def kill(job: Job, run: CleanRun, seconds: float, output: Path) -> str:
    """A kill at that moment, or somewhat before if the job happens to be done by then."""
    while (reached := injections.killed(job, output, run.digests, at_processor_time(seconds))) is None:
        shutil.rmtree(output)
        seconds *= 0.95
    return f"{reached} at {seconds:.2f} s"


def cases(folder: Path, kills: int, seed: int) -> Iterator[Case]:
    jobs, runs = clean_runs(folder)
    for name in KILLS:
        job, run = jobs[name], runs[name]
        for number, seconds in enumerate(kill_moments(name, run, kills, seed)):
            yield Case("kill", name, number, partial(kill, job, run, seconds))
        middle = run.first_s + (run.total_s - run.first_s) / 3  # the last third is the end of the interpreter
        for number, stop in enumerate((signal.SIGINT, signal.SIGTERM)):
            inject = partial(injections.stopped, number=stop, moment=at_processor_time(middle))
            yield Case(stop.name, name, number, partial(_inject, inject, job, run))
        for number, pattern in enumerate(FULL[name]):
            size = injections.size_without_room(folder / "clean" / name, pattern)
            inject = partial(injections.disk_full, size=size)
            yield Case("disk full", name, number, partial(_inject, inject, job, run))
        for number, read_only in enumerate((injections.read_only_before, injections.read_only_meanwhile)):
            yield Case("read-only", name, number, partial(_inject, read_only, job, run))
        if name == "pretrain":
            continue
        for number, stage in enumerate(("transcribing", "scoring")[name == "relabel" :]):
            inject = partial(injections.worker_killed, stage=stage)
            yield Case("worker", name, number, partial(_inject, inject, job, run))
        yield Case("clock", name, 0, partial(_inject, injections.clock_jumps, job, run))
        inject = partial(injections.truncated_temporary_files, clean=folder / "clean" / name)
        yield Case("temporary files", name, 0, partial(_inject, inject, job, run))
        yield Case("two jobs", name, 0, partial(_inject, injections.two_jobs, job, run))


def _inject(inject: Callable[..., str], job: Job, run: CleanRun, output: Path) -> str:
    return inject(job=job, output=output, expected=run.digests)


def run_case(case: Case, folder: Path) -> Result:
    # A folder of its own, which may become a mount point.
    disk = folder / "disk"
    start = time.monotonic()
    detail = fault = ""
    try:
        detail = case.run(disk / "out")
    except AssertionError as error:
        fault = str(error)
    shutil.rmtree(disk, ignore_errors=True)
    return Result(case.kind, case.job, case.number, detail, fault, round(time.monotonic() - start, 1))


def table(results: list[Result]) -> Iterator[str]:
    yield "| fault | job | times | whole after the rerun | the last that had been written, or when |"
    yield "|---|---|---|---|---|"
    for kind, job in dict.fromkeys((result.kind, result.job) for result in results):
        group = [result for result in results if (result.kind, result.job) == (kind, job)]
        whole = sum(not result.fault for result in group)
        reached = Counter(result.detail.partition(" at ")[0] for result in group)
        details = ", ".join(f"{name} ({number})" if number > 1 else name for name, number in reached.items())
        yield f"| {kind} | {job} | {len(group)} | {whole} | {details} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for outputs and results")
    parser.add_argument("--kills", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no case after these")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="of faults, such as kill; default: all")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.monotonic()
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / RESULTS
    lines = path.read_text().splitlines() if path.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    known = {(result.kind, result.job, result.number) for result in results}
    planned = [
        case for case in cases(args.folder, args.kills, args.seed) if args.only is None or case.kind in args.only
    ]
    waiting = [case for case in planned if (case.kind, case.job, case.number) not in known]
    while waiting and time.monotonic() < start + 60 * args.minutes:
        case = waiting.pop(0)
        result = run_case(case, args.folder)
        with path.open("a") as stream:
            stream.write(json.dumps(asdict(result)) + "\n")
        print(
            f"{result.kind} {result.job} {result.number}: {result.fault or result.detail} ({result.seconds} s)",
            flush=True,
        )
        results.append(result)
    if not waiting:
        print("\n".join(table(results)))


if __name__ == "__main__":
    main()
