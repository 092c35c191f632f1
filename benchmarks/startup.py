"""How long commands take to start: ``--help``, mistakes, commands that only read, and a build up to its first unit.

    python -m benchmarks.startup [--only help|mistakes|work]

The mistakes are those of tests/test_mistakes.py. A build's first unit is begun when its attempt is marked, after the
plan is written and the recogniser is loaded. Medians of --runs runs, after one that warms the file cache: seconds by
the clock, and of processor time, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lanser_ops.command_table import COMMANDS
from tests.test_mistakes import MISTAKEN_INPUT, MISTAKES, write_files

EXAMPLES = Path(__file__).parents[1] / "examples" / "audio"
HELP_S, MISTAKE_S, READ_S, FIRST_UNIT_S = 0.7, 1.0, 1.0, 3.0
PARTS = ("help", "mistakes", "work")
# What is measured: its name, its limit in seconds, and a function that takes its time.
Rows = Iterator[tuple[str, float, Callable[[], float]]]


def run_command(*argv: str | Path, status: int = 0, cwd: Path | None = None) -> float:
    """Seconds that ``lanser ARGV`` takes, which is to end with ``status``."""
    command = [sys.executable, "-m", "lanser_ops", *map(str, argv)]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    elapsed = time.monotonic() - start
    if done.returncode != status:
        raise SystemExit(f"lanser {' '.join(map(str, argv))} ended with {done.returncode}: {done.stderr}")
    return elapsed


def processor_time() -> float:
    """Seconds of processor time of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def first_unit(output: Path) -> float:
    """Seconds from the start of a build of the shipped examples to its first attempt at a unit; it is then killed."""
    argv = ["build", "--input", EXAMPLES, "--output", output, "--taxonomy", "ekman"]
    start = time.monotonic()
    job = subprocess.Popen(
        [sys.executable, "-m", "lanser_ops", *map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not any((output / "attempts").glob("*/*")):
        if job.poll() is not None:
            raise SystemExit(f"lanser {' '.join(map(str, argv))} ended with {job.returncode}")
        time.sleep(0.005)
    elapsed = time.monotonic() - start
    job.kill()
    job.wait()
    return elapsed


def help_rows() -> Rows:
    for command in COMMANDS:
        yield f"{command} --help", HELP_S, lambda command=command: run_command(command, "--help")


def mistake_rows(folder: Path) -> Rows:
    write_files(folder)
    for command, _ in MISTAKES + MISTAKEN_INPUT:
        yield command, MISTAKE_S, lambda command=command: run_command(*shlex.split(command), status=2, cwd=folder)


def work_rows(folder: Path) -> Rows:
    built = folder / "built"
    run_command("build", "--input", EXAMPLES / "kal", "--output", built, "--taxonomy", "ekman")
    numbers = iter(range(1000))
    yield "taxonomies", READ_S, lambda: run_command("taxonomies")
    yield "inspect DIR", READ_S, lambda: run_command("inspect", built)
    yield "build, to its first unit", FIRST_UNIT_S, lambda: first_unit(folder / str(next(numbers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--only", choices=PARTS, help="default: all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mistakes").mkdir()
        parts = {
            "help": help_rows(), "mistakes": mistake_rows(Path(folder) / "mistakes"), "work": work_rows(Path(folder)),
        }  # fmt: skip
        slowest: dict[str, float] = {}
        print("  clock  limit  processor  lanser …")
        for part in PARTS if args.only is None else (args.only,):
            for name, limit, measure in parts[part]:
                measure()
                before = processor_time()
                median = statistics.median(measure() for _ in range(args.runs))
                used = (processor_time() - before) / args.runs
                slowest[part] = max(median, slowest.get(part, 0.0))
                over = "" if median < limit else "  over"
                print(f"{median:>5.2f} s {limit:>4.1f} s {used:>8.2f} s  {name}{over}", flush=True)
        print("slowest: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in slowest.items()))


if __name__ == "__main__":
    main()
