"""How often a unit was begun and never finished, in marks that outlive a worker process which dies on it.

A mark is a small file that is written before the work on a unit and removed after it. A worker that is killed
by what it decodes, or by the system for the memory it takes, leaves its mark; after `MAX_TRIES` of them the
unit is set aside instead of being begun again, so that one file does not keep a job from its end.

A job that is killed as a whole leaves marks as well, and that is no unit's fault. So a mark counts for the job that
made it, and for later ones only where the job lived to see its worker die.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator

from lanser_ops import storage
from lanser_ops.errors import InputError
from lanser_ops.plan import Unit

ATTEMPTS = "attempts"
# Ends the name of a mark whose worker was seen to die.
DIED = ".died"
# Dataflow fails the job with the fourth failure of one piece of work; at the fourth try the unit is set aside.
MAX_TRIES = 3


def used_up(output: str, unit: Unit) -> bool:
    """Whether the unit was begun `MAX_TRIES` times and never finished."""
    return len(storage.list_files(_folder(output, unit))) >= MAX_TRIES


@contextlib.contextmanager
def attempt(output: str, unit: Unit) -> Iterator[None]:
    """Mark the unit as begun; the mark goes when the block ends, and stays when it fails or its process dies.

    Storage that cannot be reached and bad options are no fault of the unit: they do not count.
    """
    name = f"{unit.part}/{uuid.uuid4().hex}"
    storage.write_bytes(output, f"{ATTEMPTS}/{name}", f"{socket.gethostname()} {os.getpid()}\n".encode())
    try:
        yield
    except (InputError, OSError):
        _remove([storage.join(output, ATTEMPTS, name)])
        raise
    forget(output, unit)


def forget(output: str, unit: Unit) -> None:
    """Remove the unit's marks: it is finished, or set aside."""
    _remove(list(storage.list_files(_folder(output, unit))))


def confirm(output: str) -> None:
    """Let the marks that are there count for later jobs too: a worker has died, and its job is about to end."""
    for path in _unseen(output):
        storage.write_bytes(output, path[len(output) + 1 :] + DIED, storage.read_bytes(path))
        _remove([path])


def forget_interrupted(output: str) -> None:
    """Before a job: remove the marks of jobs that did not see a worker die."""
    _remove(_unseen(output))


def clear(output: str) -> None:
    """Remove all marks. After the last unit, one may be left by a worker that died between file and mark."""
    _remove(list(storage.list_files(storage.join(output, ATTEMPTS))))


def _unseen(output: str) -> list[str]:
    """The marks whose worker nobody has seen die."""
    return [path for path in storage.list_files(storage.join(output, ATTEMPTS)) if not path.endswith(DIED)]


def _folder(output: str, unit: Unit) -> str:
    return storage.join(output, ATTEMPTS, unit.part)


def _remove(paths: list[str]) -> None:
    with contextlib.suppress(OSError):  # another attempt at the unit may have removed them just now
        storage.delete_files(paths)
