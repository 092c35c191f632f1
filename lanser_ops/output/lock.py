"""One job at a time for an output directory, or several that each do a part of the units.

The lock is a small file with its owner and an expiry, which the owner keeps moving forward; so it works on object
stores and does not outlive a job that was killed. On the machine that the owner ran on, its process is looked for too,
and a dead owner's lock is taken over at once.

A job for all units holds `LOCK`; a job for a part of them holds a lock of its own in `PART_LOCKS`, so that those of
different parts run at the same time, and none beside a job for all units. Where such jobs write what they share, they
take turns (`turn`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
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

log = logging.getLogger(__name__)
LOCK = "job.lock"
PART_LOCKS = "locks"
# The lock of what the jobs for parts share: the plan and dataset.json.
SHARED = "shared"
WAIT_S = 0.5
# So many refusals later something is said of it.
PATIENCE = 20
EXPIRY_S = 300.0
# No store offers a link that one of two jobs can create: the later of two locks wins, and is looked at after this time.
SETTLE_S = 2.0
# The jobs of this process that hold a lock; one that could not remove its lock is over all the same.
_running: set[str] = set()
RENEW_S = 60.0


class Held(InputError):
    """Another job holds the lock."""


@dataclass(frozen=True)
class _Owner:
    """``started`` is the kernel's start time of the process, which tells it from a later one with its number."""

    job: str
    host: str
    pid: int
    started: str
    expires: float


@contextlib.contextmanager
def hold(root: str, part: str | None = None) -> Iterator[OutputDir]:
    """Hold the lock of the output directory ``root`` during the block; yields the directory.

    ``part`` names the part of the units that the job does (``00003-of-00016``), None stands for all of them.

    Temporary files of this job, and of a dead one whose lock it takes over, are removed.

    Raises:
        Held: another job for all units, for the same part, or (where ``part`` is None) for any part runs there.
        OSError: nothing can be written there.
    """
    storage.check_writable(root)
    own = _Owner(uuid.uuid4().hex[:12], socket.gethostname(), os.getpid(), _started(os.getpid()), 0.0)
    out = OutputDir(root, own.job)
    name = LOCK if part is None else f"{PART_LOCKS}/{part}"
    _acquire(out, name, own)
    _running.add(own.job)
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(out, name, own, stop), name="job-lock", daemon=True)
    thread.start()
    try:
        yield out
    finally:
        _running.discard(own.job)
        stop.set()
        thread.join(timeout=RENEW_S)
        _release(out, name, own)


@contextlib.contextmanager
def turn(root: str) -> Iterator[OutputDir]:
    """Hold the lock of what the jobs for parts share during the block, once no other job does; yields the directory.

    The caller holds the lock of its part, so that there is no job for all units meanwhile.
    """
    with contextlib.ExitStack() as stack:
        for refusals in itertools.count():
            try:
                out = stack.enter_context(hold(root, SHARED))
                break
            except Held:
                if refusals == PATIENCE:
                    log.warning("waiting for another part, which prepares or does what needs all units")
                time.sleep(WAIT_S)
        yield out


def _release(out: OutputDir, name: str, own: _Owner) -> None:
    """Remove what the job leaves. Where that fails, the lock expires, and the job's own error is what counts."""
    with contextlib.suppress(Exception):
        storage.clear_temporary(out.root, own.job)
    with contextlib.suppress(Exception):
        if _read(out, name) == own.job:
            out.delete([name])


def _acquire(out: OutputDir, name: str, own: _Owner) -> None:
    for rival in _conflicting(out, name):
        other = _owner(out, rival)
        if other and _is_alive(other):
            raise _refusal(out, other)
        if other:
            storage.clear_temporary(out.root, other.job)
        _remove_stale(out, rival, other, own)
    if storage.is_remote(out.root):
        _write(out, name, own)
        time.sleep(SETTLE_S)
    else:  # of two jobs that start at the same moment, one can create the link
        own_file = f"{name}.{own.job}"
        out.write_bytes(own_file, _content(own))
        with contextlib.suppress(FileExistsError):
            os.link(out.path(own_file), out.path(name))
        os.remove(out.path(own_file))
    if _read(out, name) != own.job:
        raise _refusal(out, None)
    for rival in _conflicting(out, name):
        other = _owner(out, rival)
        if rival != name and other and _is_alive(other):
            _release(out, name, own)
            raise _refusal(out, other)


def _conflicting(out: OutputDir, name: str) -> list[str]:
    """The existing locks that keep a job from the lock ``name``."""
    parts = out.names(PART_LOCKS) if name == LOCK else [name]
    return [rival for rival in (LOCK, *parts) if out.exists(rival)]


def _refusal(out: OutputDir, other: _Owner | None) -> Held:
    if other is None:
        return Held(f"--output {out.root}: another lanser job has just started there; wait until it has ended")
    return Held(
        f"--output {out.root}: another lanser job writes there (process {other.pid} on {other.host}); wait "
        "until it has ended, or choose another --output. The lock of a job that was killed on another machine "
        f"expires by itself, this one in {max(1, round(other.expires - time.time()))} s"
    )


def _remove_stale(out: OutputDir, name: str, stale: _Owner | None, own: _Owner) -> None:
    """Remove the lock of ``stale``, and no lock that a third job has put there since."""
    if storage.is_remote(out.root):
        with contextlib.suppress(OSError):
            out.delete([name])
        return
    aside = out.path(f"{name}.{own.job}.stale")
    with contextlib.suppress(FileNotFoundError):
        os.rename(out.path(name), aside)
        if _parsed(storage.read_bytes(aside)) != stale:
            with contextlib.suppress(FileExistsError):
                os.link(aside, out.path(name))
        os.remove(aside)


def _renew(out: OutputDir, name: str, own: _Owner, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        with contextlib.suppress(OSError):  # tried again before the lock expires
            if _read(out, name) in (own.job, None):  # a job that slept may find its lock taken over
                _write(out, name, own)


def _content(own: _Owner) -> bytes:
    return json.dumps(asdict(replace(own, expires=time.time() + EXPIRY_S))).encode()


def _write(out: OutputDir, name: str, own: _Owner) -> None:
    out.write_bytes(name, _content(own))


def _owner(out: OutputDir, name: str) -> _Owner | None:
    try:
        return _parsed(out.read_bytes(name))
    except FileNotFoundError:  # just released
        return None


def _parsed(content: bytes) -> _Owner | None:
    """None for what is not a lock of this version."""
    try:
        return _Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _read(out: OutputDir, name: str) -> str | None:
    owner = _owner(out, name)
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
