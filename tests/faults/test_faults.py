"""A few of the faults of `benchmarks.faults`, at fixed points instead of drawn ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.fault_cases import injections
from benchmarks.fault_cases.jobs import Job, build, matches, pretrain, relabel, write_corpus

needs_mount = pytest.mark.skipif(not injections.may_mount(), reason="file systems cannot be mounted here")


@dataclass(frozen=True)
class Clean:
    """A job and what it gives undisturbed."""

    job: Job
    output: Path
    digests: dict[str, str]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def clean(job: Job, output: Path) -> Clean:
    return Clean(job, output, injections.run_clean(job, output).digests)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder = tmp_path_factory.mktemp("faults")
    return clean(build(write_corpus(folder / "corpus")), folder / "out")


@pytest.fixture(scope="module")
def relabelled(built: Clean, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return clean(relabel(built.output), tmp_path_factory.mktemp("faults") / "out")


@pytest.fixture(scope="module")
def trained(built: Clean, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return clean(pretrain(built.output), tmp_path_factory.mktemp("faults") / "out")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Below a folder of its own, where a disk may be mounted."""
    return tmp_path / "disk" / "out"


def at_file(output: Path, pattern: str) -> injections.Moment:
    return lambda _: matches(output, pattern)


def test_a_killed_build_ends_with_the_same_bytes(built: Clean, output: Path):
    assert injections.killed(built.job, output, built.digests, at_file(output, "shards/*/*.tar"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_pretrain_in_one_line(number: signal.Signals, trained: Clean, output: Path):
    injections.stopped(trained.job, output, trained.digests, number, at_file(output, "checkpoints/step-*2"))


def test_a_signal_ends_a_relabel_in_one_line(relabelled: Clean, output: Path):
    moment = at_file(output, "transcripts/*")
    injections.stopped(relabelled.job, output, relabelled.digests, signal.SIGINT, moment)


def test_a_worker_that_is_killed_while_it_scores(relabelled: Clean, output: Path):
    injections.worker_killed(relabelled.job, output, relabelled.digests, "scoring")


@needs_mount
@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("labels/*/part-00000*", "labels/plutchik/part-00000-of-00003.parquet"),
        ("shards/*/*.tar", "shards/plutchik/val-00002-of-00003.tar"),
    ],
)
def test_a_relabel_on_a_full_disk_names_the_file_and_goes_on(pattern: str, name: str, relabelled: Clean, output: Path):
    size = injections.size_without_room(relabelled.output, pattern)
    assert injections.disk_full(relabelled.job, output, relabelled.digests, size) == f"no room for {name}"


@needs_mount
def test_a_pretrain_on_a_full_disk_goes_on(trained: Clean, output: Path):
    size = injections.size_without_room(trained.output, "checkpoints/*/optimizer.pt")
    injections.disk_full(trained.job, output, trained.digests, size)


@needs_mount
@pytest.mark.parametrize("inject", [injections.read_only_before, injections.read_only_meanwhile])
def test_a_relabel_on_a_read_only_disk(inject: Callable[..., str], relabelled: Clean, output: Path):
    inject(relabelled.job, output, relabelled.digests)


def test_a_clock_that_jumps(relabelled: Clean, output: Path):
    injections.clock_jumps(relabelled.job, output, relabelled.digests)


def test_truncated_temporary_files_are_removed(built: Clean, output: Path):
    injections.truncated_temporary_files(built.job, built.output, output, built.digests)


def test_of_two_jobs_one_is_refused(relabelled: Clean, output: Path):
    injections.two_jobs(relabelled.job, output, relabelled.digests)
