"""A job on a Dask cluster: worker processes that share the output folder and the scheduler, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import distributed
import pytest

from lanser_ops.common.errors import InputError
from pipelines import build
from pipelines.beam_options import parse_beam_flags
from pipelines.runners import runner_of

REPOSITORY = Path(__file__).parents[2]
DASK = str(Path(sys.executable).parent / "dask")
FLAGS = ["--taxonomy", "ekman", "--num-shards", "4", "--val-fraction", "0.2", "--threads", "1"]


@dataclass(frozen=True)
class Cluster:
    """The options that name a cluster, and the process ids of its workers."""

    flags: list[str]
    workers: set[int]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers of one thread, which nobody starts again when they die."""
    folder = tmp_path_factory.mktemp("dask")
    scheduler_file = folder / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    service = ["--scheduler-file", str(scheduler_file), "--no-dashboard"]
    worker = ["worker", *service, "--nworkers", "1", "--nthreads", "1", "--no-nanny"]
    commands = [["scheduler", *service, "--host", "127.0.0.1", "--port", "0"]]
    commands += [[*worker, "--local-directory", str(folder / name)] for name in ("first", "second")]
    started: list[subprocess.Popen] = []
    try:
        for command in commands:
            started.append(
                subprocess.Popen(
                    [DASK, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        with distributed.Client(scheduler_file=str(scheduler_file)) as client:  # which waits for the file
            client.wait_for_workers(2, timeout=200)
        yield Cluster(
            ["--runner", "DaskRunner", "--dask_scheduler_file", str(scheduler_file)],
            {process.pid for process in started[1:]},
        )
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextlib.contextmanager
def watching(output: Path, on_mark: Callable[[int], object]) -> Iterator[None]:
    """Call ``on_mark`` with the process of each mark below ``output`` during the block, until it returns True."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            for mark in output.glob("attempts/*/*"):
                with contextlib.suppress(FileNotFoundError, IndexError):  # of a unit that is done
                    if on_mark(int(mark.read_text().split()[1])) is True:
                        return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_two_workers_write_the_bytes_of_a_local_job_and_count_what_they_do(
    cluster: Cluster, built: Path, small_corpus: Path, tmp_path: Path, digests, job_metrics
):
    output, seen = tmp_path / "out", set()
    options = parse_beam_flags(cluster.flags)
    pipeline = beam.Pipeline(runner=runner_of(options, 4, 1, verbose=False), options=options)
    argv = ["--input", str(small_corpus), "--output", str(output), *FLAGS, *cluster.flags]
    with watching(output, seen.add):
        build.run(argv, pipeline)
    assert seen == cluster.workers
    assert digests(output) == digests(built)
    assert not (output / "attempts").exists() and not (output / ".tmp").exists()
    metrics = job_metrics(pipeline.result)
    assert (metrics["utterances"], metrics["pairs"], metrics["samples"]) == (12, 70, 10)
    assert metrics["rejects/no_speech"] == metrics["rejects/truncated"] == 1
    stages = ("transcribe", "score", "label", "shard")
    assert {stage: metrics[f"{stage}_milliseconds"] for stage in stages} == dict.fromkeys(stages, 4)


def test_a_worker_killed_in_mid_unit_costs_no_byte(
    cluster: Cluster, built: Path, small_corpus: Path, tmp_path: Path, lanser, digests
):
    output, killed = tmp_path / "out", []

    def kill(pid: int) -> bool:
        assert pid in cluster.workers
        os.kill(pid, signal.SIGSTOP)  # so that the mark is there while it is looked at
        in_mid_unit = any(f" {pid}\n" in mark.read_text() for mark in output.glob("attempts/*/*"))
        os.kill(pid, signal.SIGKILL if in_mid_unit else signal.SIGCONT)
        killed.extend([pid] * in_mid_unit)
        return in_mid_unit

    with watching(output, kill):
        done = lanser("build", "--input", small_corpus, "--output", output, *FLAGS, *cluster.flags)
    assert done.returncode == 0, done.stderr
    assert len(killed) == 1
    assert digests(output) == digests(built)
    assert not (output / "attempts").exists() and not (output / ".tmp").exists()


def test_an_error_of_a_worker_is_one_line(cluster: Cluster, tmp_path: Path, lanser):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "transcripts").write_text("in the way")
    corpus = REPOSITORY / "examples" / "audio" / "slt"
    done = lanser("transcribe", "--input", corpus, "--output", tmp_path / "out", "--num-shards", "1", *cluster.flags)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lanser transcribe: ") and "Traceback" not in done.stderr


def test_without_dask_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--runner DaskRunner: Dask is not installed; pip install 'lanser\[dask\]'"):
        parse_beam_flags(["--runner", "DaskRunner"])
