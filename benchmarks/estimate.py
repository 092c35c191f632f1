#!/usr/bin/env python3
"""How far an estimate of `lanser build --dry-run` is from the job.

    python benchmarks/estimate.py ../shared/data/ravdess

Both are given in seconds of processor time, the estimate's clock being that of its process, so that the comparison
holds on a machine that does other work as well; ``--clock`` compares the times by the clock instead. The job writes to
a temporary folder. An estimate of 1.00 is exact.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The standard library's own users of the clock are imported before it is replaced.
DRY_RUN = """
import concurrent.futures, queue, subprocess, sys, threading, time
if sys.argv[1] == "processor":
    time.monotonic = time.process_time
from lanser_ops import cli
raise SystemExit(cli.main(["build", "--dry-run", *sys.argv[2:]]))
"""


def estimate(clock: str, arguments: list[str]) -> float:
    """The seconds that an estimate states."""
    command = [sys.executable, "-c", DRY_RUN, clock, *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(text, flush=True)
    parts = re.search(r"time: about (?:([\d,]+) h )?(?:(\d+) min)? ?(?:([\d.]+) s)?", text)
    hours, minutes, seconds = (float((part or "0").replace(",", "")) for part in parts.groups())
    return 3600 * hours + 60 * minutes + seconds


def job(clock: str, arguments: list[str]) -> float:
    """The seconds that the job takes."""
    start = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "lanser_ops", "build", *arguments]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit("the job failed")
    return usage.ru_utime + usage.ru_stime if clock == "processor" else time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--taxonomy", default="ekman")
    parser.add_argument("--threads", default="1")
    parser.add_argument(
        "--clock", action="store_const", const="clock", default="processor", help="compare by the clock"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        arguments = ["--input", str(args.corpus), "--output", f"{work}/out", "--taxonomy", args.taxonomy]
        arguments += ["--threads", args.threads]
        estimated = estimate(args.clock, arguments)
        taken = job(args.clock, arguments)
    print(f"estimated {estimated:.1f} s, taken {taken:.1f} s: {estimated / taken:.2f}")


if __name__ == "__main__":
    main()
