"""The jobs that faults are injected into, how they are started and ended, and what is asked of them afterwards."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lanser_ops import cli
from lanser_ops.output.attempts import ATTEMPTS
from lanser_ops.output.lock import LOCK
from lanser_ops.storage import TMP_DIR

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples" / "audio"
# Five utterances in several formats, one silent file, one that is cut off: three units of a second or so each.
RECORDINGS = (
    "slt/best_day.wav",
    "slt/thank_you.flac",
    "slt/love_you.mp3",
    "slt/dog_died.m4a",
    "rms/hilarious.mp4",
    "broken/silent.wav",
    "broken/truncated.flac",
)
# Lines of progress, which a job that ends in one line of error may have written before it.
PROGRESS = re.compile(r"(shard|transcribe|label): \d+/\d+ units|step \d+/\d+: |epoch \d+: |.*: \d+ of \d+ samples: ")
# What the jobs import, loaded once for all of them.
LIBRARIES = (
    *("apache_beam", "torch", "transformers", "accelerate", "ctranslate2", "faster_whisper"),
    *("apache_beam.runners.portability.fn_api_runner.fn_runner", "apache_beam.runners.worker.sdk_worker"),
    *("pipelines.build", "pipelines.relabel", "pipelines.job", "pipelines.transforms", "pipelines.beam_options"),
    *("lanser_ops.asr.whisper_recognizer", "lanser_ops.labelling.nli_scorer", "lanser_ops.commands.verify"),
    *("lanser_ops.report.card", "lanser_ops.report.page"),
    *("training.pretrain", "training.trainer", "training.prepare", "training.blocks", "training.summaries"),
)
STARTED = "started\n"  # the first line of a process on its stderr
LIMIT_S = 600.0
POLL_S = 0.01


@dataclass(frozen=True)
class Job:
    """A command of lanser without its --output; ``again`` are the flags that its rerun needs beside it."""

    argv: tuple[str, ...]
    again: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.argv[0]

    def command(self, output: Path) -> list[str]:
        return [*self.argv, "--output", str(output)]

    def rerun(self, output: Path) -> list[str]:
        return [*self.command(output), *self.again]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    stderr: str

    def errors(self) -> list[str]:
        """The lines of stderr without those of progress."""
        return [line for line in self.stderr.splitlines() if line and not PROGRESS.match(line)]


def write_corpus(folder: Path) -> Path:
    for name in RECORDINGS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLES / name, folder / name)
    return folder


def build(corpus: Path) -> Job:
    flags = ("--taxonomy", "ekman", "--num-shards", "3", "--val-fraction", "0.3", "--threads", "1")
    return Job(("build", "--input", str(corpus), *flags))


def relabel(shards: Path) -> Job:
    return Job(("relabel", "--shards", str(shards), "--taxonomy", "plutchik", "--threads", "1"))


def pretrain(shards: Path) -> Job:
    """Six steps with a checkpoint after each, and three validations."""
    network = ("--backbone", "resnet10-quarter", "--crop-s", "0.4", "--device", "cpu", "--tracker")
    steps = ("--epochs", "3", "--batch-size", "2", "--buffer", "5", "--checkpoint-every", "1")
    return Job(("pretrain", "--shards", str(shards), *network, *steps), again=("--resume",))


class Process:
    """``lanser COMMAND`` in a process group of its own, with the signals that it has in a terminal.

    It is forked from a process that has the libraries loaded: so the moments of faults fall into the work and not into
    imports, which take longer. ``before`` is called in it first.
    """

    def __init__(self, command: Sequence[str], before: Callable[[], None] | None = None):
        descriptor, path = tempfile.mkstemp()
        os.close(descriptor)
        self._stderr, self._lines = Path(path), ""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*LIBRARIES])
        self._process = context.Process(target=_run, args=(list(command), path, before))
        self._process.start()
        self.pid = self._process.pid or 0
        # From here on a signal for the group reaches it and it alone.
        wait_until(lambda: self._stderr.stat().st_size > 0, self)

    def status(self) -> int | None:
        """The exit status, that of a signal below zero; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float = LIMIT_S) -> Outcome:
        """Wait for its end, at most ``timeout_s``; then everything it started is killed."""
        self._process.join(timeout_s)
        status = self.status()
        self.kill()
        assert status is not None, f"did not end within {timeout_s:g} s"
        return Outcome(status, self._lines.removeprefix(STARTED))

    def kill(self) -> None:
        """End all processes of its group at once, as the loss of a machine does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()
        if self._stderr.exists():
            self._lines = self._stderr.read_text(encoding="utf-8", errors="replace")
            self._stderr.unlink()

    def processor_s(self) -> float:
        """Seconds of processor time so far, without those of processes that it started."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def peak_mb(self) -> float:
        """The most memory that it has held so far, in MB."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return 0.0


def _run(command: list[str], stderr: str, before: Callable[[], None] | None) -> None:
    """What a `Process` runs."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    if before:
        before()
    print(STARTED, end="", file=sys.stderr, flush=True)
    sys.exit(cli.main(command))


def run(command: Sequence[str]) -> Outcome:
    """Run ``lanser COMMAND`` to its end."""
    return Process(command).wait()


def wait_until(condition: Callable[[], object], process: Process) -> bool:
    """Whether ``condition`` holds before ``process`` ends; it is evaluated every few milliseconds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if process.status() is not None:
            return False
        assert time.monotonic() < deadline, f"nothing happened for {LIMIT_S:g} s"
        time.sleep(POLL_S)
    return True


def matches(output: Path, pattern: str) -> list[str]:
    """What matches ``pattern`` below ``output``: unlike pathlib's, this passes over a folder that goes meanwhile."""
    return glob.glob(pattern, root_dir=output, recursive=True, include_hidden=True)


def digests(output: Path) -> dict[str, str]:
    """SHA-256 of every file of ``output`` whose bytes depend on input, options and models alone, by name.

    dataset.json and the documents state how long the job took, checkpoints of PyTorch are archives with names of
    their folders, and of the log only the figures are equal.
    """
    paths = [path for path in sorted(output.rglob("*")) if path.suffix in (".tar", ".parquet", ".safetensors")]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def leftovers(output: Path) -> list[str]:
    """What a finished job must not leave behind."""
    return [name for name in (TMP_DIR, ATTEMPTS, LOCK) if (output / name).exists()]


def complete(job: Job, output: Path, expected: dict[str, str]) -> None:
    """Run ``job`` again to its end: nothing may be missing, left over or other than in an uninterrupted run."""
    outcome = run(job.rerun(output))
    assert outcome.status == 0, f"the rerun ends with {outcome.status}: {outcome.stderr[-500:]}"
    assert_whole(job, output, expected)


def assert_whole(job: Job, output: Path, expected: dict[str, str]) -> None:
    if job.name != "pretrain":  # a run of pretrain has no dataset.json to verify by
        verified = run(["verify", str(output)])
        assert verified.status == 0, f"lanser verify: {verified.stderr[-500:]}"
    actual = digests(output)
    names = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
    assert not names, f"other bytes than in an uninterrupted run: {', '.join(names)}"
    assert not leftovers(output), f"left behind: {', '.join(leftovers(output))}"


def assert_one_line(outcome: Outcome, status: int, text: str) -> None:
    """``outcome`` ended with ``status`` and one line, which has ``text`` in it."""
    lines = outcome.errors()
    assert outcome.status == status, f"ended with {outcome.status} instead of {status}: {outcome.stderr[-500:]}"
    assert len(lines) == 1 and text in lines[0], f"no single line with {text!r}: {outcome.stderr[-500:]}"
