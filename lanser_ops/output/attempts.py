"""How often a unit was begun and never finished, recorded in marks that outlive a worker process that dies on it.

A mark is a small file that is written before the work on a unit and removed after it. A worker that is killed by
what it decodes, or by the system for the memory it takes, leaves its mark; after `MAX_TRIES` of them the unit is set
aside instead of being begun again, so that one file does not keep a job from finishing.

A job that is killed as a whole leaves marks as well, and those are no unit's fault. So a mark counts for the job that
wrote it, and for later jobs only if that job saw its worker die. An attempt interrupted by Ctrl-C is not counted.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import socket
import uuid
from collections.abc import Iterable, Iterator

from lanser_ops.common.errors import InputError
from lanser_ops.output.directory import OutputDir
from schemas.units import Unit

ATTEMPTS = "attempts"
# Suffix of a mark whose worker was seen to die.
DIED = ".died"
# Dataflow fails the job at the fourth failure of one work item; at the fourth try the unit is set aside.
MAX_TRIES = 3
GAVE_UP = f"its unit was begun {MAX_TRIES} times and never finished: a worker died on one of its sources"


def used_up(out: OutputDir, unit: Unit) -> bool:
    """Whether the unit was begun `MAX_TRIES` times and never finished."""
    return len(out.names(_folder(unit))) >= MAX_TRIES


@contextlib.contextmanager
def attempt(out: OutputDir, unit: Unit) -> Iterator[None]:
    """Mark the unit as begun; the mark is removed when the block ends, and stays if it fails or its process dies.

    Storage that cannot be reached and bad options are no fault of the unit: they do not count.
    """
    mark = f"{_folder(unit)}/{uuid.uuid4().hex}"
    out.write_bytes(mark, f"{socket.gethostname()} {os.getpid()}\n".encode())
    try:
        yield
    except (InputError, OSError):
        _remove(out, [mark])
        raise
    forget(out, unit)


def forget(out: OutputDir, unit: Unit) -> None:
    """Remove the unit's marks: it is finished, or set aside."""
    _remove(out, out.names(_folder(unit)))


def confirm(out: OutputDir, units: Iterable[Unit]) -> None:
    """Make the units' marks count for later jobs too: a worker has died, and its job is about to end."""
    for mark in _unconfirmed(out, units):
        out.write_bytes(mark + DIED, out.read_bytes(mark))
        _remove(out, [mark])


def forget_unconfirmed(out: OutputDir, units: Iterable[Unit]) -> None:
    """Remove the units' marks of jobs that did not see a worker die: before a job, and when Ctrl-C ends one."""
    _remove(out, _unconfirmed(out, units))


def clear(out: OutputDir) -> None:
    """Remove all marks. After the last unit, a worker that died between file and mark may have left one."""
    _remove(out, out.names(ATTEMPTS))


def _unconfirmed(out: OutputDir, units: Iterable[Unit]) -> list[str]:
    folders = {_folder(unit) for unit in units}
    return [mark for mark in out.names(ATTEMPTS) if posixpath.dirname(mark) in folders and not mark.endswith(DIED)]


def _folder(unit: Unit) -> str:
    return f"{ATTEMPTS}/{unit.part}"


def _remove(out: OutputDir, marks: Iterable[str]) -> None:
    with contextlib.suppress(OSError):  # another attempt at the unit may have just removed them
        out.delete(marks)
