"""How long commands take to start: ``--help``, the commands that only read, and a build up to its first unit.

    python benchmarks/startup.py

A build's first unit is begun when its attempt is marked, after the plan is written and the recogniser is loaded.
Medians of --runs runs, after one that warms the file cache. Close other programs: every figure is processor time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lanser_ops.command_table import COMMANDS

EXAMPLES = Path(__file__).parents[1] / "examples" / "audio"
HELP_S, READ_S, FIRST_UNIT_S = 0.7, 1.0, 3.0


def run_command(*argv: str | Path) -> float:
    """Seconds that ``lanser ARGV`` takes."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "lanser_ops", *map(str, argv)], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "built"
        run_command("build", "--input", EXAMPLES / "kal", "--output", built, "--taxonomy", "ekman")
        rows = [
            (f"{command} --help", HELP_S, lambda command=command: run_command(command, "--help"))
            for command in COMMANDS
        ]
        rows.append(("taxonomies", READ_S, lambda: run_command("taxonomies")))
        rows.append(("inspect DIR", READ_S, lambda: run_command("inspect", built)))
        numbers = iter(range(1000))
        rows.append(("build, to its first unit", FIRST_UNIT_S, lambda: first_unit(Path(folder) / str(next(numbers)))))
        print(f"{'lanser …':<26}  median  limit")
        for name, limit, measure in rows:
            measure()
            median = statistics.median(measure() for _ in range(args.runs))
            print(f"{name:<26} {median:>5.2f} s {limit:>4.1f} s{'' if median < limit else '  over'}", flush=True)


if __name__ == "__main__":
    main()
