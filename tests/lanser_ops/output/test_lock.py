"""One job at a time for an output directory, on disks and in stores."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.output import lock

HOLDS = """
import sys, time
from lanser_ops.output import lock
with lock.hold(sys.argv[1]) as out:
    out.write_bytes("held", b"")
    with out.writer("half") as stream:
        stream.write(b"half")
        print("held", flush=True)
        time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock of ``tmp_path`` and is in the middle of a file."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def write_owner(root: str, **changes: object) -> None:
    owner = {"job": "0123456789ab", "host": "elsewhere", "pid": 1, "started": "1", "expires": time.time() + 90}
    storage.write_bytes(root, lock.LOCK, json.dumps(owner | changes).encode())


def test_a_second_job_is_refused_in_one_line(tmp_path: Path, holder: subprocess.Popen):
    with pytest.raises(InputError) as error, lock.hold(str(tmp_path)):
        pass
    assert str(error.value).startswith(
        f"--output {tmp_path}: another lanser job writes there (process {holder.pid} on {socket.gethostname()}); wait"
    )
    assert "\n" not in str(error.value)
    assert len(list((tmp_path / ".tmp").iterdir())) == 1  # the other job's file is still there


def test_the_lock_of_a_killed_job_is_taken_over_at_once_with_its_temporary_files(
    tmp_path: Path, holder: subprocess.Popen
):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".tmp").exists()
    with lock.hold(str(tmp_path)):
        assert [path.name for path in tmp_path.rglob("*") if path.name.endswith("-half")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held"]


def test_a_later_process_with_the_number_of_a_dead_one_is_not_its_owner(tmp_path: Path):
    write_owner(str(tmp_path), host=socket.gethostname(), pid=os.getpid(), started="1")
    with lock.hold(str(tmp_path)):
        pass


def test_an_error_releases_the_lock(tmp_path: Path):
    with pytest.raises(RuntimeError), lock.hold(str(tmp_path)):
        raise RuntimeError
    assert storage.list_files(str(tmp_path)) == {}


@pytest.fixture(params=["disk", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("gcs")


def test_the_lock_of_another_machine_holds_until_it_expires(root: str):
    write_owner(root)
    with (
        pytest.raises(InputError, match=r"another lanser job writes there \(process 1 on elsewhere\)"),
        lock.hold(root),
    ):
        pass
    write_owner(root, expires=time.time() - 1)
    with lock.hold(root) as out:
        assert json.loads(out.read_bytes(lock.LOCK))["pid"] == os.getpid()
    assert storage.list_files(root) == {}


def test_a_job_that_runs_long_keeps_its_lock(root: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    with lock.hold(root) as out:
        first = json.loads(out.read_bytes(lock.LOCK))["expires"]
        deadline = time.monotonic() + 30
        while json.loads(out.read_bytes(lock.LOCK))["expires"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_something_else_by_that_name_is_no_lock(tmp_path: Path):
    (tmp_path / lock.LOCK).write_bytes(b"\xff{")
    with lock.hold(str(tmp_path)):
        pass
    assert storage.list_files(str(tmp_path)) == {}


def test_jobs_for_different_parts_share_and_refuse_the_same_part_and_a_job_for_all(root: str):
    with lock.hold(root, "00000-of-00002"), lock.hold(root, "00001-of-00002"):
        for part in ("00001-of-00002", None):
            with pytest.raises(InputError, match="another lanser job writes there"), lock.hold(root, part):
                pass
    with (
        lock.hold(root),
        pytest.raises(InputError, match="another lanser job writes there"),
        lock.hold(root, "00000-of-00002"),
    ):
        pass
    assert storage.list_files(root) == {}


def test_of_two_jobs_that_start_at_once_in_a_store_one_is_refused(gcs: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "sleep", lambda _: write_owner(gcs))  # the other's lock appears after ours
    with pytest.raises(InputError, match="another lanser job has just started there"), lock.hold(gcs):
        pass


def test_a_store_that_fails_at_the_end_does_not_hide_the_job_s_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(*_: object) -> None:
        raise InputError("the store denies access")

    with pytest.raises(RuntimeError, match="the job's own"), lock.hold(str(tmp_path)):
        monkeypatch.setattr(storage, "clear_temporary", unreachable)
        monkeypatch.setattr(storage, "delete_files", unreachable)
        raise RuntimeError("the job's own")


def test_a_job_whose_lock_was_taken_over_leaves_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "RENEW_S", 0.01)
    with lock.hold(str(tmp_path)) as out:
        write_owner(str(tmp_path))
        time.sleep(0.2)
        assert json.loads(out.read_bytes(lock.LOCK))["host"] == "elsewhere"
    assert out.exists(lock.LOCK)


def test_jobs_for_parts_take_turns_at_what_they_share(root: str, monkeypatch: pytest.MonkeyPatch):
    refused, order = threading.Event(), []
    refusal = lock._refusal
    monkeypatch.setattr(lock, "_refusal", lambda *given: refused.set() or refusal(*given))

    def second() -> None:
        with lock.turn(root):
            order.append("second")

    thread = threading.Thread(target=second)
    with lock.turn(root):
        thread.start()
        assert refused.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert storage.list_files(root) == {}
