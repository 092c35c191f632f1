#!/usr/bin/env python3
"""How planning grows with the corpus: time and peak memory of 1,000 to 10 million rows, and the growth exponent.

    python benchmarks/scale.py plan

A Parquet manifest of each size is written to a temporary folder, with ``bytes``, so that no file is asked for its
size: what is measured is reading, sorting, cutting and encoding. Each size has a process of its own; its seconds are
those of its processor, since others may use the machine, and leave out what it takes to start; its peak is the
largest resident set, as the kernel counts it. The exponent is the slope of log seconds over log rows, by least
squares: 1 is linear.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CHUNK_ROWS = 1_000_000
# Below this many rows, seconds are those of a few fixed costs.
SLOPE_FROM_ROWS = 10_000
PLAN = """
import sys, time
from lanser_ops.plan import PlanOptions, encode_plan, make_plan
from lanser_ops.sources import read_sources
start = time.process_time()
table, units = make_plan(read_sources([sys.argv[1]], sys.argv[2]), PlanOptions())
content = encode_plan(table, units)
print(time.process_time() - start, len(units), len(content))
"""


def write_manifest(path: Path, rows: int) -> None:
    """A Parquet manifest of ``rows`` recordings of about 4 s, a hundred in a folder."""
    with pq.ParquetWriter(path, pa.schema([("path", pa.string()), ("bytes", pa.int64())]), compression="zstd") as out:
        for first in range(0, rows, CHUNK_ROWS):
            numbers = np.arange(first, min(first + CHUNK_ROWS, rows))
            names = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
            folders = pc.utf8_slice_codeunits(names, 0, 6)
            paths = pc.binary_join_element_wise("speaker-", folders, "/utterance-", names, ".flac", "")
            out.write_table(pa.table({"path": paths, "bytes": 60_000 + numbers * 7919 % 50_000}))


def plan(manifest: Path) -> tuple[float, float, int, float]:
    """(seconds, peak in MB, units, size of the plan in MB) of planning ``manifest`` in a process of its own."""
    command = [sys.executable, "-c", PLAN, str(manifest), str(manifest.parent / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"planning {manifest} ended with status {status}")
    seconds, units, size = told.split()
    return float(seconds), usage.ru_maxrss / 1024, int(units), int(size) / 1e6


def measure_plan(sizes: list[int]) -> None:
    measured = []
    print("       rows   seconds   peak MB   units   plan MB", flush=True)
    for rows in sizes:
        with tempfile.TemporaryDirectory() as work:
            manifest = Path(work) / "manifest.parquet"
            write_manifest(manifest, rows)
            seconds, peak, units, size = plan(manifest)
        print(f"{rows:>11,} {seconds:>9.2f} {peak:>9,.0f} {units:>7,} {size:>9.1f}", flush=True)
        if rows >= SLOPE_FROM_ROWS:
            measured.append((rows, seconds))
    if len(measured) > 1:
        slope, _ = np.polyfit(*np.log(np.array(measured)).T, 1)
        print(f"growth exponent from {measured[0][0]:,} rows on: {slope:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("plan",))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows; default: %(default)s")
    args = parser.parse_args()
    measure_plan(args.sizes)


if __name__ == "__main__":
    main()
