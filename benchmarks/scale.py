#!/usr/bin/env python3
"""How the work grows: planning with the rows, shards with the utterances, a build with its workers, and requests.

    python benchmarks/scale.py plan
    python benchmarks/scale.py shards examples/audio/slt
    python benchmarks/scale.py workers ../shared/data/ravdess
    python benchmarks/scale.py requests examples/audio/slt/thank_you.flac

``plan``: time and peak memory of 1,000 to 10 million rows, and the growth exponent. A Parquet manifest of each size is
written to a temporary folder, with ``bytes``, so that no file is asked for its size: what is measured is reading,
sorting, cutting and encoding. Each size has a process of its own; its seconds are those of its processor, since
others may use the machine, and leave out what it takes to start; its peak is the largest resident set, as the kernel
counts it. The exponent is the slope of log seconds over log rows, by least squares: 1 is linear.

``shards``: `lanser shard` with transcripts and labels at hand, of 1,000 to 100,000 utterances: links to clips of a
second that are cut from the folder's flac files, with given texts. Clips are decoded, encoded and written into tars.
What the command takes with nothing left to do is shown beside, not left out.

``workers``: the same whole `lanser build` with one worker and with two, a thread each, from an empty output.

``requests``: what `lanser build` asks of a store, counted in the log of a GCS emulator: a recording many times over,
from a manifest with ``bytes`` and texts. Three builds tell what a recording costs, a unit and the job.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops import storage, stores
from lanser_ops.audio.decode import SAMPLE_RATE, decode

PLAN_ROWS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SHARD_UTTERANCES = (1_000, 10_000, 100_000)
TEXTS = ("I am so happy for you.", "Leave me alone!", "The meeting is at three.", "I never saw that coming.")
CHUNK_ROWS = 1_000_000
# (recordings, units): from the first to the second there are more recordings, from there on more units.
REQUEST_BUILDS = ((20, 2), (60, 2), (60, 6))
# Below this many rows, a few fixed costs dominate.
SLOPE_FROM_ROWS = 10_000
PLAN = """
import sys, time
from lanser_ops.corpus.plan import encode_plan, make_plan
from lanser_ops.corpus.sources import read_sources
from schemas.specs import PlanSpec
start = time.process_time()
table, units = make_plan(read_sources([sys.argv[1]], sys.argv[2]), PlanSpec())
content = encode_plan(table, units)
print(time.process_time() - start, len(units), len(content))
"""


def write_manifest(path: Path, rows: int) -> None:
    """A Parquet manifest of ``rows`` recordings of about 4 s, a hundred per folder."""
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
        line = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"planning {manifest} ended with status {status}")
    seconds, units, size = line.split()
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


def lanser(*arguments: str | Path) -> float:
    """Seconds of a command, by the clock."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "lanser_ops", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - start


def cut_clips(folder: Path, to: Path) -> list[Path]:
    """The first second of every flac file of ``folder``, as 16 kHz FLAC."""
    to.mkdir()
    clips = []
    for number, path in enumerate(sorted(folder.rglob("*.flac"))):
        with path.open("rb") as stream:
            samples = np.concatenate(list(decode(stream)))[:SAMPLE_RATE]
        clips.append(to / f"{number}.flac")
        soundfile.write(clips[-1], samples, SAMPLE_RATE, subtype="PCM_16")
    return clips


def link_corpus(clips: list[Path], utterances: int, folder: Path) -> Path:
    """``utterances`` links to the ``clips`` in turn, a thousand per folder; the manifest with their texts."""
    rows = []
    for number in range(utterances):
        clip = clips[number % len(clips)]
        name = f"{number // 1000:04d}/{number:07d}.flac"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(clip, folder / name)
        rows.append({"path": name, "bytes": clip.stat().st_size, "text": TEXTS[number % len(TEXTS)]})
    manifest = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    return manifest


def measure_shards(folder: Path, sizes: list[int]) -> None:
    rates = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as work:
            output, clips = Path(work) / "out", cut_clips(folder, Path(work) / "clips")
            lanser("transcribe", "--input", link_corpus(clips, size, Path(work) / "in"), "--output", output)
            lanser("label", "--output", output, "--taxonomy", "ekman")
            command = ("shard", "--output", output, "--taxonomy", "ekman")
            seconds = lanser(*command)
            rates[size] = size / seconds
            rate = f"{size:>9,} utterances: {seconds:7.1f} s, {rates[size]:6.0f} per second"
            print(f"{rate}; again, with nothing left to do: {lanser(*command):.1f} s", flush=True)
    smallest, largest = min(sizes), max(sizes)
    print(f"rate at {largest:,} over rate at {smallest:,}: {rates[largest] / rates[smallest]:.2f}")


def measure_workers(folder: Path) -> None:
    seconds = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as output:
            given = ("--taxonomy", "ekman", "--threads", "1", "--workers", str(workers))
            seconds[workers] = lanser("build", "--input", folder, "--output", Path(output) / "out", *given)
            print(f"{workers} worker(s), one thread each: {seconds[workers]:.1f} s", flush=True)
    print(f"two workers are {seconds[1] / seconds[2]:.2f} times as fast as one, on {os.cpu_count()} cores")


def count_requests(recording: Path, recordings: int, units: int, log: Path) -> np.ndarray:
    """(requests, those that write, copy or delete) of a build on the store whose log is ``log``."""
    root, content = f"gs://corpus/{recordings}-{units}", recording.read_bytes()
    names = [f"{number:04d}{recording.suffix}" for number in range(recordings)]
    for name in names:
        storage.write_bytes(f"{root}/in", name, content)
    rows = "".join(f"{name},{len(content)},Text {number}.\n" for number, name in enumerate(names))
    storage.write_bytes(f"{root}/in", "list.csv", f"path,bytes,text\n{rows}".encode())
    before = len(_requests(log))
    given = ("--input", f"{root}/in/list.csv", "--output", f"{root}/out", "--taxonomy", "ekman", "--threads", "1")
    lanser("build", *given, "--num-shards", str(units))
    requests = _requests(log)[before:]
    return np.array([len(requests), sum(not line.startswith('"GET ') for line in requests)])


def _requests(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if " HTTP/1.1" in line]


def measure_requests(recording: Path) -> None:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    emulator = [str(Path(sys.executable).parent / "gcp-storage-emulator"), "start", "--host", "localhost"]
    emulator += ["--port", str(port), "--in-memory", "--default-bucket", "corpus"]
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://localhost:{port}"
    with tempfile.TemporaryDirectory() as work, (Path(work) / "log").open("w") as log:
        server = subprocess.Popen(emulator, stdout=log, stderr=log)
        try:
            while "started" not in Path(log.name).read_text():
                time.sleep(0.1)
            stores.set_options(PipelineOptions([]))
            few, many, parted = (count_requests(recording, *sizes, Path(log.name)) for sizes in REQUEST_BUILDS)
        finally:
            server.terminate()
            server.wait()
    (first, units), (more, _), (_, more_units) = REQUEST_BUILDS
    recording_cost, unit = (many - few) / (more - first), (parted - many) / (more_units - units)
    for name, (requests, writes) in {
        "recording": recording_cost,
        "unit": unit,
        "job": few - first * recording_cost - units * unit,
    }.items():
        print(f"a {name}: {requests:.1f} requests, {writes:.1f} of them write, copy or delete")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    planning = parts.add_parser("plan")
    planning.add_argument("--sizes", type=int, nargs="+", default=PLAN_ROWS, help="rows; default: %(default)s")
    writing = parts.add_parser("shards")
    writing.add_argument("folder", type=Path, help="of flac files")
    writing.add_argument("--sizes", type=int, nargs="+", default=SHARD_UTTERANCES, help="default: %(default)s")
    building = parts.add_parser("workers")
    building.add_argument("folder", type=Path, help="of recordings, enough for minutes")
    asking = parts.add_parser("requests")
    asking.add_argument("recording", type=Path, help="a small one")
    args = parser.parse_args()
    if args.part == "plan":
        measure_plan(args.sizes)
    elif args.part == "shards":
        measure_shards(args.folder, args.sizes)
    elif args.part == "workers":
        measure_workers(args.folder)
    else:
        measure_requests(args.recording)


if __name__ == "__main__":
    main()
