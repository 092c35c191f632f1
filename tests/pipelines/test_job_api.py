"""The package as Dataflow would stage it, in workers that have nothing else, behind Beam's Job API."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import psutil
import pyarrow.parquet as pq
import pytest

from pipelines import build
from pipelines.beam_options import parse_beam_flags

REPOSITORY = Path(__file__).parents[2]
FLAGS = ["--taxonomy", "ekman", "--num-shards", "4", "--val-fraction", "0.2", "--threads", "1"]
# A job service with two workers (`local_job_service_main` has one), and before the pools what stands before them
# in a cluster: a service that hands the wish for a worker to one pool after the other.
SERVICE = """
import itertools, sys
import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc as fn_api
from apache_beam.runners.portability import local_job_service, local_job_service_main
from apache_beam.utils import thread_pool_executor

port, front, *pools = map(int, sys.argv[1:])
stubs = [fn_api.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(f"localhost:{pool}")) for pool in pools]
turns = itertools.cycle(stubs)

class Front(fn_api.BeamFnExternalWorkerPoolServicer):
    def StartWorker(self, request, context):
        return next(turns).StartWorker(request)

class TwoWorkers(local_job_service.fn_runner.FnApiRunner):
    def __init__(self, **given):
        super().__init__(**given)
        self._num_workers = len(pools)

server = grpc.server(thread_pool_executor.shared_unbounded_instance())
fn_api.add_BeamFnExternalWorkerPoolServicer_to_server(Front(), server)
server.add_insecure_port(f"localhost:{front}")
server.start()
local_job_service.fn_runner.FnApiRunner = TwoWorkers
local_job_service_main.run(["--port", str(port)])
"""
# Put behind the staged `recordings.py`: a file on which the decoder takes its process along.
POISON = """
import os as _os
_open_recording = open_recording
def open_recording(row, roots):
    if row.path == "poison.wav":
        _os.kill(_os.getpid(), 9)
    return _open_recording(row, roots)
"""


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the sdist installed; of this one it sees the libraries, not the checkout."""
    folder = tmp_path_factory.mktemp("staged")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(*command: str | Path, cwd: Path) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    checkout = folder / "checkout"  # setuptools works in the folder that it packs, which other tests read
    unpacked = shutil.ignore_patterns(".*", "out", "build", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, checkout, ignore=unpacked)
    call(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", folder, cwd=checkout)
    shutil.rmtree(checkout)
    (package,) = folder.glob("lanser-*.tar.gz")
    venv.create(folder / "venv", symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--no-deps", "--no-build-isolation"]
    call(*install, "--target", site, package, cwd=folder)
    # A .pth file adds a folder without the .pth files that lie in it, so not the editable install of lanser.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    names = ["lanser_ops", "pipelines", "schemas", "training"]
    code = f"import {', '.join(names)}; print(*(module.__file__ for module in ({', '.join(names)})), sep='\\n')"
    paths = call(folder / "venv" / "bin" / "python", "-c", code, cwd=folder).split()
    assert [Path(path).parent for path in paths] == [site / name for name in names]
    return folder / "venv"


@pytest.fixture
def serving(staged: Path, tmp_path: Path, free_ports, listens):
    """A job service over so many pools of one worker each: the options to submit with, and the pools."""

    @contextlib.contextmanager
    def over(pools: int) -> Iterator[tuple[list[str], list[psutil.Process]]]:
        port, front, *ports = free_ports(2 + pools)
        python = staged / "bin" / "python"
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        clean["PATH"] = f"{staged / 'bin'}{os.pathsep}{clean['PATH']}"  # a pool starts the python that it finds
        commands = [
            [python, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", str(number)]
            for number in ports
        ]
        commands.append([python, "-c", SERVICE, *map(str, (port, front, *ports))])
        started = []
        with (tmp_path / "services.log").open("w") as log:
            try:
                for command in commands:
                    started.append(subprocess.Popen(command, cwd=tmp_path, env=clean, stdout=log, stderr=log))
                wait_for(lambda: all(map(listens, (port, front, *ports))))
                yield (
                    ["--runner", "PortableRunner", "--job_endpoint", f"localhost:{port}"]
                    + ["--environment_type", "EXTERNAL", "--environment_config", f"localhost:{front}"],
                    [psutil.Process(process.pid) for process in started[:-1]],
                )
            finally:
                for process in started:
                    for child in psutil.Process(process.pid).children(recursive=True):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            child.kill()
                    process.kill()
                    process.wait()

    return over


def temporary_files(output: Path) -> list[Path]:
    return [path for name in (".tmp", "attempts") if (path := output / name).exists()]


def test_two_pools_with_the_staged_package_share_the_units_and_count_what_they_do(
    serving, built: Path, small_corpus: Path, tmp_path: Path, digests, job_metrics
):
    with serving(pools=2) as (runner, pools):
        pipeline = beam.Pipeline(options=parse_beam_flags(runner))
        build.run(["--input", str(small_corpus), "--output", str(tmp_path / "out"), *FLAGS, *runner], pipeline)
        workers = [child for pool in pools for child in pool.children()]
        assert len(workers) == 2
        metrics = job_metrics(pipeline.result)
    assert (metrics["utterances"], metrics["pairs"], metrics["samples"]) == (12, 70, 10)
    assert metrics["rejects/no_speech"] == metrics["rejects/truncated"] == 1
    stages = ("transcribe", "score", "label", "shard")
    assert {stage: metrics[f"{stage}_milliseconds"] for stage in stages} == dict.fromkeys(stages, 4)
    assert digests(tmp_path / "out") == digests(built)
    assert temporary_files(tmp_path / "out") == []


def test_a_worker_killed_in_mid_unit_costs_a_second_call_and_no_byte(
    serving, built: Path, small_corpus: Path, tmp_path: Path, lanser, digests
):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "lanser_ops", "build", "--input", small_corpus, "--output", output, *FLAGS]
    with serving(pools=1) as (runner, (pool,)):
        job = subprocess.Popen(
            [*map(str, command), *runner], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: glob.glob(f"{output}/shards/ekman/*.tar") and glob.glob(f"{output}/attempts/*/*"))
        (worker,) = pool.children()
        os.kill(worker.pid, signal.SIGSTOP)  # so that the mark is there while it is read
        (marked,) = output.glob("attempts/*/*")
        assert marked.read_text() == f"{socket.gethostname()} {worker.pid}\n"
        os.kill(worker.pid, signal.SIGKILL)
        lines = job.communicate(timeout=300)[1].splitlines()
        assert job.returncode == 1
        assert lines[-1].startswith("lanser build: a worker process died; the same command continues where it stopped")
        assert not [line for line in lines if line.startswith("Traceback")], "\n".join(lines)
        assert len(list(output.glob("shards/ekman/*.tar"))) < 3
        done = lanser(*command[3:], *runner)
        assert done.returncode == 0, done.stderr
    assert digests(output) == digests(built)
    assert temporary_files(output) == []


def test_a_file_that_kills_its_worker_is_set_aside_with_its_unit(
    staged: Path, serving, small_corpus: Path, tmp_path: Path, lanser
):
    """Once the fourth call comes to it; the other units are whole."""
    corpus, output = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for name in ("slt/best_day.wav", "slt/love_you.mp3", "slt/thank_you.flac"):
        (corpus / Path(name).name).write_bytes((small_corpus / name).read_bytes())
    (corpus / "poison.wav").write_bytes((small_corpus / "slt/best_day.wav").read_bytes())
    (recordings,) = staged.glob("lib/python*/site-packages/lanser_ops/audio/recordings.py")
    before = recordings.read_text()
    recordings.write_text(before + POISON)
    try:
        with serving(pools=1) as (runner, _):
            given = ["--input", corpus, "--output", output, *FLAGS[2:], *runner]
            calls = [lanser("transcribe", *given) for _ in range(3)]
            calls.append(lanser("build", "--taxonomy", "ekman", *given))
    finally:
        recordings.write_text(before)
    assert [outcome.returncode for outcome in calls] == [1, 1, 1, 0], calls[-1].stderr
    assert "4 utterances: 3 transcripts, 3 samples, 1 rejects" in calls[-1].stdout
    (reject,) = pq.read_table(output / "rejects").to_pylist()
    assert (reject["source"], reject["stage"], reject["reason"]) == ("poison.wav", "transcribe", "gave_up")
    assert reject["detail"] == "its unit was begun 3 times and never finished: a worker died on one of its sources"
    assert temporary_files(output) == []
