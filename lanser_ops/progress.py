"""How far a job is, read from the files it has finished: right on every runner, with any number of workers."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lanser_ops import dataset, storage
from lanser_ops.plan import Unit

POLL_S = 1.0
REMOTE_POLL_S = 20.0
# Where nobody watches, a line for every step of this size is enough for a log.
PLAIN_STEP = 0.1


@contextlib.contextmanager
def watch(output: str, units: Sequence[Unit], stage: str, taxonomy: str | None) -> Iterator[None]:
    """Show units, hours of audio and an ETA while the block runs: a bar on a terminal, else plain lines.

    ``stage`` is the last stage of the command; its file is what makes a unit count as done.
    """
    stop = threading.Event()
    console = Console(file=sys.stderr)
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        thread = threading.Thread(
            target=_poll, args=(output, units, stage, taxonomy, bar, stop), name="progress", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=REMOTE_POLL_S)


def _poll(
    output: str, units: Sequence[Unit], stage: str, taxonomy: str | None, bar: Progress, stop: threading.Event
) -> None:
    total = sum(unit.bytes for unit in units)
    hours = _Hours(output)
    task, shown = None, 0.0
    while True:
        finishing = stop.is_set()
        with contextlib.suppress(OSError):  # a listing that fails is tried again at the next poll
            there = {path[len(output) + 1 :] for path in storage.list_files(output)}
            done = [unit for unit in units if _name(unit, stage, taxonomy) in there]
            size = sum(unit.bytes for unit in done)
            heard = hours.heard([unit for unit in units if dataset.transcripts_file(unit) in there])
            told = f"{len(done)}/{len(units)} units, {heard:.2f} h of audio"
            if task is None:
                task = bar.add_task(stage, total=total, completed=size, told=told)
                shown = size / total
            bar.update(task, completed=size, told=told)
            left = bar.tasks[task].time_remaining
            if bar.disable and size / total >= shown + PLAIN_STEP:
                shown = size / total
                eta = "" if left is None or size == total else f", about {left:.0f} s to go"
                print(f"{stage}: {told}{eta}", file=sys.stderr, flush=True)
        if finishing:
            return
        stop.wait(REMOTE_POLL_S if storage.is_remote(output) else POLL_S)


class _Hours:
    """Hours of audio in the transcripts so far; each part is read once."""

    def __init__(self, output: str):
        self._output = output
        self._seconds: dict[int, float] = {}

    def heard(self, units: Sequence[Unit]) -> float:
        for unit in units:
            if unit.index not in self._seconds:
                path = storage.join(self._output, dataset.transcripts_file(unit))
                table = storage.read_table(path, ["duration_s"])
                self._seconds[unit.index] = sum(table.column("duration_s").to_pylist())
        return sum(self._seconds.values()) / 3600


def _name(unit: Unit, stage: str, taxonomy: str | None) -> str:
    if stage == "transcribe":
        return dataset.transcripts_file(unit)
    if stage == "shard":
        return dataset.shard_file(taxonomy, unit)
    return dataset.labels_file(taxonomy, unit)
