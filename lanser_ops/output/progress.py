"""How far a job is, read from the files it has finished: right on every runner, with any number of workers."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lanser_ops import storage
from lanser_ops.common import events
from lanser_ops.common.errors import InputError
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.rejects import is_shard_stage, shard_stage
from schemas.records import REASONS
from schemas.units import Unit

POLL_S = 1.0
REMOTE_POLL_S = 20.0
# Where nobody watches, a line for every step of this size is enough for a log.
PLAIN_STEP = 0.1


@contextlib.contextmanager
def watch(out: OutputDir, units: Sequence[Unit], stage: str, taxonomy: str | None) -> Iterator[None]:
    """Show units, hours of audio and an ETA while the block runs: a bar on a terminal, else plain lines.

    ``stage`` is the last stage of the command; its file is what makes a unit count as done. A unit without samples
    has no such file: when the block ends without an error, every unit is done.
    """
    console = Console(file=sys.stderr)
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    ]
    is_hidden = events.is_json() or not console.is_terminal
    with Progress(*columns, console=console, disable=is_hidden, transient=True) as bar:
        watcher = _Watcher(out, units, stage, taxonomy, bar)
        stop = threading.Event()
        thread = threading.Thread(target=watcher.poll, args=(stop,), name="progress", daemon=True)
        thread.start()
        try:
            yield
            watcher.finished = True
        finally:
            stop.set()
            thread.join(timeout=REMOTE_POLL_S)


class _Watcher:
    """Counts the finished files of a job; the hours of each part are read once."""

    def __init__(self, out: OutputDir, units: Sequence[Unit], stage: str, taxonomy: str | None, bar: Progress):
        self.finished = False
        self._out, self._units, self._stage, self._taxonomy, self._bar = out, units, stage, taxonomy, bar
        self._total = sum(unit.bytes for unit in units)
        self._seconds: dict[int, float] = {}
        self._reported: set[tuple[int, bool]] = set()
        self._task: TaskID | None = None
        self._printed = 0.0

    def poll(self, stop: threading.Event) -> None:
        while True:
            ending = stop.is_set()
            # A listing that fails is repeated at the next poll; a damaged file ends the job itself.
            with contextlib.suppress(OSError, InputError):
                self._update()
            if ending:
                return
            stop.wait(REMOTE_POLL_S if storage.is_remote(self._out.root) else POLL_S)

    def _update(self) -> None:
        existing = self._out.names()
        done = [
            unit
            for unit in self._units
            if self.finished or self._out.marker(self._stage, unit, self._taxonomy) in existing
        ]
        size = sum(unit.bytes for unit in done)
        hours = self._hours([unit for unit in self._units if self._out.transcripts(unit) in existing])
        if events.is_json():
            self._write_rejects(existing)
        status = f"{len(done)}/{len(self._units)} units, {hours:.2f} h of audio"
        if self._task is None:
            self._task = self._bar.add_task(self._stage, total=self._total, completed=size, status=status)
            self._printed = size / self._total
        self._bar.update(self._task, completed=size, status=status)
        remaining = self._bar.tasks[self._task].time_remaining
        if self._bar.disable and (size / self._total >= self._printed + PLAIN_STEP or self._last_line(size)):
            self._printed = size / self._total
            eta = "" if remaining is None or size == self._total else f", about {remaining:.0f} s left"
            events.write(
                "info",
                f"{self._stage}: {status}{eta}",
                stage=self._stage,
                units_done=len(done),
                units=len(self._units),
                audio_hours=round(hours, 4),
                seconds_left=None if remaining is None else round(remaining),
            )

    def _write_rejects(self, existing: Collection[str]) -> None:
        """An event for every reason for which a unit has rejects: what workers print is lost on some runners.

        Those of units that were done before the job are no news.
        """
        is_first = self._task is None
        for unit in self._units:
            is_done = self.finished or self._out.marker(self._stage, unit, self._taxonomy) in existing
            for is_sharded, is_ready in ((False, self._out.transcripts(unit) in existing), (True, is_done)):
                if not is_ready or (unit.index, is_sharded) in self._reported:
                    continue
                self._reported.add((unit.index, is_sharded))
                if is_first:
                    continue
                table = self._out.read_table(self._out.rejects(unit), ["stage", "reason"])
                for (stage, reason), count in sorted(Counter(zip(*table.to_pydict().values(), strict=True)).items()):
                    if stage == shard_stage(self._taxonomy or "") if is_sharded else not is_shard_stage(stage):
                        message = f"unit {unit.index}: {count} rejects: {REASONS[reason]}"
                        events.write("warning", message, stage=stage, unit=unit.index, reason=reason, count=count)

    def _last_line(self, size: int) -> bool:
        return size == self._total and self._printed < 1

    def _hours(self, units: Sequence[Unit]) -> float:
        for unit in units:
            if unit.index not in self._seconds:
                table = self._out.read_table(self._out.transcripts(unit), ["duration_s"])
                self._seconds[unit.index] = sum(table.column("duration_s").to_pylist())
        return sum(self._seconds.values()) / 3600
