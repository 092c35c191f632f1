"""One job at a time for an output directory.

The lock is a small file with its owner and an expiry, which the owner keeps moving forward; so it works on object
stores and does not outlive a job that was killed. On the machine that the owner ran on, its process is looked for too,
and a dead owner's lock is taken over at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.output.directory import OutputDir

LOCK = "job.lock"
EXPIRY_S = 300.0
# The jobs of this process that hold a lock; one that could not remove its lock is over all the same.
_running: set[str] = set()
RENEW_S = 60.0


@dataclass(frozen=True)
class _Owner:
    """``started`` is the kernel's start time of the process, which tells it from a later one with its number."""

    job: str
    host: str
    pid: int
    started: str
    expires: float


@contextlib.contextmanager
def hold(root: str) -> Iterator[OutputDir]:
    """Hold the lock of the output directory ``root`` during the block; yields the directory.

    Temporary files of this job, and of a dead one whose lock it takes over, are removed.

    Raises:
        InputError: another job holds the lock.
        OSError: nothing can be written there.
    """
    storage.check_writable(root)
    own = _Owner(uuid.uuid4().hex[:12], socket.gethostname(), os.getpid(), _started(os.getpid()), 0.0)
    out = OutputDir(root, own.job)
    _acquire(out, own)
    _running.add(own.job)
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(out, own, stop), name="job-lock", daemon=True)
    thread.start()
    try:
        yield out
    finally:
        _running.discard(own.job)
        stop.set()
        thread.join(timeout=RENEW_S)
        storage.clear_temporary(root, own.job)
        if _read(out) == own.job:
            with contextlib.suppress(OSError):
                out.delete([LOCK])


def _acquire(out: OutputDir, own: _Owner) -> None:
    if out.exists(LOCK):
        other = _owner(out)
        if other and _is_alive(other):
            raise InputError(
                f"--output {out.root}: another lanser job writes there (process {other.pid} on {other.host}); wait "
                "until it has ended, or choose another --output. The lock of a job that was killed on another machine "
                f"expires by itself, this one in {max(1, round(other.expires - time.time()))} s"
            )
        if other:
            storage.clear_temporary(out.root, other.job)
        _remove_stale(out, other, own)
    if storage.is_remote(out.root):
        _write(out, own)
    else:  # of two jobs that start at the same moment, one can create the link
        out.write_bytes(f"{LOCK}.{own.job}", _content(own))
        with contextlib.suppress(FileExistsError):
            os.link(out.path(f"{LOCK}.{own.job}"), out.path(LOCK))
        os.remove(out.path(f"{LOCK}.{own.job}"))
    if _read(out) != own.job:
        raise InputError(f"--output {out.root}: another lanser job has just started there; wait until it has ended")


def _remove_stale(out: OutputDir, stale: _Owner | None, own: _Owner) -> None:
    """Remove the lock of ``stale``, and no lock that a third job has put there since."""
    if storage.is_remote(out.root):
        with contextlib.suppress(OSError):
            out.delete([LOCK])
        return
    aside = out.path(f"{LOCK}.{own.job}.stale")
    with contextlib.suppress(FileNotFoundError):
        os.rename(out.path(LOCK), aside)
        if _parsed(storage.read_bytes(aside)) != stale:
            with contextlib.suppress(FileExistsError):
                os.link(aside, out.path(LOCK))
        os.remove(aside)


def _renew(out: OutputDir, own: _Owner, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        with contextlib.suppress(OSError):  # tried again before the lock expires
            _write(out, own)


def _content(own: _Owner) -> bytes:
    return json.dumps(asdict(replace(own, expires=time.time() + EXPIRY_S))).encode()


def _write(out: OutputDir, own: _Owner) -> None:
    out.write_bytes(LOCK, _content(own))


def _owner(out: OutputDir) -> _Owner | None:
    try:
        return _parsed(out.read_bytes(LOCK))
    except FileNotFoundError:  # just released
        return None


def _parsed(content: bytes) -> _Owner | None:
    """None for what is not a lock of this version."""
    try:
        return _Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _read(out: OutputDir) -> str | None:
    owner = _owner(out)
    return owner.job if owner else None


def _is_alive(owner: _Owner) -> bool:
    if owner.host == socket.gethostname() and owner.pid == os.getpid() and owner.started == _started(owner.pid):
        return owner.job in _running
    if owner.host == socket.gethostname():
        return owner.started == _started(owner.pid) != ""
    return time.time() < owner.expires


def _started(pid: int) -> str:
    """When the process started, in the kernel's clock ticks since boot; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except OSError:
        return "" if os.path.isdir("/proc/self") else _started_portably(pid)


def _started_portably(pid: int) -> str:
    """Where there is no /proc: whether there is such a process, as text."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
