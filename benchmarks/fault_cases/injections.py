"""Faults, each injected into a job whose rerun must then give the bytes of an uninterrupted one.

Each raises AssertionError, with what differs, unless it does. ``expected`` are the `digests` of an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil

from benchmarks.fault_cases.jobs import (
    POLL_S,
    Job,
    Process,
    assert_one_line,
    assert_whole,
    complete,
    digests,
    matches,
    run,
    wait_until,
)
from lanser_ops.output import lock
from lanser_ops.output.attempts import ATTEMPTS
from lanser_ops.output.directory import CARD, DATASET, PLAN
from lanser_ops.output.lock import LOCK
from lanser_ops.storage import TMP_DIR

# What a job writes, in that order: how far it was when it was killed.
MILESTONES = (
    *("plan.parquet", "transcripts/*", "scores/*/part-*", "labels/*/*", "shards/*/*", "report.html"),
    *("run.json", "checkpoints/step-*", "best/*", "model/*"),
)
PAGE = 4096  # of a tmpfs, whose files take whole pages
CONTINUES = "continue"  # in the line of every job that was stopped
DAY_S = 86400.0
# Whether the moment of a fault has come in the life of a process.
Moment = Callable[[Process], object]


@dataclass(frozen=True)
class CleanRun:
    """An uninterrupted run: its hashes, and its processor time to the first file below its output and to its end."""

    digests: dict[str, str]
    first_s: float
    total_s: float


def at_processor_time(seconds: float) -> Moment:
    return lambda process: process.processor_s() >= seconds


def run_clean(job: Job, output: Path) -> CleanRun:
    process = Process(job.command(output))
    wait_until(lambda: matches(output, "**"), process)
    first_s = total_s = process.processor_s()
    while process.status() is None:
        total_s = max(total_s, process.processor_s())
        time.sleep(POLL_S)
    outcome = process.wait()
    assert outcome.status == 0, outcome.stderr
    return CleanRun(digests(output), first_s, total_s)


def milestone(output: Path) -> str:
    """The file or folder of the last of MILESTONES that ``output`` has."""
    reached = [pattern for pattern in MILESTONES if matches(output, pattern)]
    return reached[-1].partition("/")[0] if reached else "nothing"


def killed(job: Job, output: Path, expected: dict[str, str], moment: Moment) -> str | None:
    """SIGKILL at that moment; returns how far the job was, None if it ended before."""
    process = Process(job.command(output))
    if not wait_until(lambda: moment(process), process):
        assert process.wait().status == 0
        return None
    process.kill()
    if process.status() != -signal.SIGKILL:
        return None
    reached = milestone(output)
    complete(job, output, expected)
    return reached


def stopped(job: Job, output: Path, expected: dict[str, str], number: signal.Signals, moment: Moment) -> str:
    """SIGINT or SIGTERM for all processes of the job, as a terminal or a batch system sends it."""
    process = Process(job.command(output))
    assert wait_until(lambda: moment(process), process), "ended before the signal"
    os.killpg(process.pid, number)
    outcome = process.wait()
    assert_one_line(outcome, 128 + number, CONTINUES)
    reached = milestone(output)
    assert not (output / LOCK).exists(), "the lock was not released"
    complete(job, output, expected)
    return reached


def worker_killed(job: Job, output: Path, expected: dict[str, str], stage: str) -> str:
    """SIGKILL for the busiest of two worker processes, while it transcribes or scores."""
    process = Process([*job.command(output), "--workers", "2"])

    def in_stage() -> bool:
        if stage == "transcribing":
            return bool(matches(output, f"{ATTEMPTS}/*/*"))
        units = len([name for name in expected if name.startswith("transcripts/")])
        return len(matches(output, "transcripts/*")) == units and not matches(output, "labels/*/*")

    assert wait_until(in_stage, process), f"ended before {stage}"
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "apache_beam.runners.worker.sdk_worker_main" in child.cmdline()]
    assert workers, "there are no worker processes"
    busiest = max(workers, key=lambda worker: worker.cpu_times().user)
    busiest.kill()
    assert_one_line(process.wait(), 1, "a worker process died; the same command continues where it stopped")
    complete(job, output, expected)
    return f"while {stage}"


def may_mount() -> bool:
    """Whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), PAGE):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A tmpfs of ``size`` bytes at ``folder`` during the block."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> bool:
    """Whether the file system takes the new options; it becomes read-only only while no file is open for writing."""
    return subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], capture_output=True).returncode == 0


def pages(path: Path) -> int:
    return -(-path.stat().st_size // PAGE)


def size_without_room(clean: Path, pattern: str) -> int:
    """Bytes of a disk that lacks a page for the last file of the output ``clean`` that matches ``pattern``.

    All that the job wrote before has room, and so have the lock, dataset.json as it is at first, and in stages that
    decode recordings the mark of an attempt, a page each.
    """
    paths = [path for path in clean.rglob("*") if path.is_file() and path.name not in (DATASET, CARD)]
    paths.sort(key=lambda path: path.stat().st_mtime_ns)
    last = [path for path in paths if path.match(pattern)][-1]
    decodes = pattern.startswith(("transcripts/", "shards/")) and (clean / PLAN).exists()  # a relabel has no plan
    beside = 3 if decodes else 2
    return PAGE * (sum(map(pages, paths[: paths.index(last) + 1])) + beside - 1)


def disk_full(job: Job, output: Path, expected: dict[str, str], size: int) -> str:
    """A disk of ``size`` bytes, which is enlarged for the rerun."""
    disk = output.parent
    with mounted(disk, size):
        outcome = run(job.command(output))
        assert_one_line(outcome, 1, "No space left on device")
        assert remount(disk, "size=100m")
        complete(job, output, expected)
    line = outcome.errors()[0]
    name = re.search(f"'{output}/?(.*)'", line)
    return f"no room for {name[1] or 'the output'}" if name else line


def read_only_before(job: Job, output: Path, expected: dict[str, str]) -> str:
    """A disk that is read-only from the start."""
    disk = output.parent
    with mounted(disk, 100 << 20):
        assert remount(disk, "ro")
        outcome = run(job.command(output))
        assert_one_line(outcome, 2, "Read-only file system")
        assert remount(disk, "rw")
        complete(job, output, expected)
    return "from the start"


def read_only_meanwhile(job: Job, output: Path, expected: dict[str, str]) -> str:
    """A disk that becomes read-only once the job has written its first result."""
    disk = output.parent
    with mounted(disk, 100 << 20):
        process = Process(job.command(output))
        assert wait_until(lambda: milestone(output) not in ("nothing", "plan.parquet", "run.json"), process)
        assert wait_until(lambda: remount(disk, "ro"), process)
        outcome = process.wait()
        assert_one_line(outcome, 1, "Read-only file system")
        reached = milestone(output)
        assert remount(disk, "rw")
        complete(job, output, expected)
    return f"after {reached}"


def jump_clock() -> None:
    """Let the clock of locks be a day early, right or a day late whenever it is read, which is often."""
    jumps = random.Random(0)
    jumping = SimpleNamespace(time=lambda: time.time() + jumps.choice((-DAY_S, 0.0, DAY_S)), sleep=time.sleep)
    lock.time = jumping  # type: ignore[assignment]  # not time.time itself: Beam pickles functions that hold it
    lock.RENEW_S = 0.01


def clock_jumps(job: Job, output: Path, expected: dict[str, str]) -> str:
    """A clock that is a day early or late at random."""
    outcome = Process(job.command(output), jump_clock).wait()
    assert outcome.status == 0, outcome.stderr
    assert_whole(job, output, expected)
    return "not noticed"


def truncated_temporary_files(job: Job, clean: Path, output: Path, expected: dict[str, str]) -> str:
    """A job that was killed in the middle of every file that it writes."""
    process = Process(job.command(output))
    assert wait_until(lambda: (output / LOCK).exists(), process)
    process.kill()
    owner = json.loads((output / LOCK).read_bytes())["job"]
    names = [name for name in expected if (clean / name).is_file()]
    for number, name in enumerate(names):
        content = (clean / name).read_bytes()
        temporary = output / TMP_DIR / f"{owner}-{number}-{name.replace('/', '-')}"
        temporary.parent.mkdir(exist_ok=True)
        temporary.write_bytes(content[: len(content) // 2])
    complete(job, output, expected)
    return f"{len(names)} temporary files removed"


def two_jobs(job: Job, output: Path, expected: dict[str, str]) -> str:
    """The same command again while the first one, which is stopped meanwhile, has the lock."""
    first = Process(job.command(output))
    assert wait_until(lambda: (output / LOCK).exists(), first)
    os.kill(first.pid, signal.SIGSTOP)
    second = run(job.command(output))
    os.kill(first.pid, signal.SIGCONT)
    outcome = first.wait()
    assert_one_line(second, 2, "another lanser job writes there")
    assert outcome.status == 0, outcome.stderr
    assert_whole(job, output, expected)
    return "the second refused"
