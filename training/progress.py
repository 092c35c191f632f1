"""Progress on stderr: a bar with the time that is left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# Without a terminal, progress is a plain line whenever this share of the steps is done.
PLAIN_SHARE = 0.1


class StepProgress:
    """Progress over ``total`` steps, of which ``done`` were done before; ``unit`` names what is counted."""

    def __init__(self, total: int, done: int = 0, unit: str = "step"):
        console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn(unit), BarColumn(), TextColumn("{task.completed}/{task.total} {task.fields[message]} ETA"),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("steps", total=total, completed=done, message="")
        self._bar.start()
        self._unit, self._total, self._first, self._shown = unit, total, done, done
        self._start = time.monotonic()

    def update(self, done: int, message: str) -> None:
        """Show that ``done`` of the steps are done."""
        self._bar.update(self._task, completed=done, message=message)
        if self._bar.disable and (done == self._total or done >= self._shown + PLAIN_SHARE * self._total):
            self._shown = done
            seconds = (self._total - done) * (time.monotonic() - self._start) / max(done - self._first, 1)
            line = f"{self._unit} {done}/{self._total}: {message}, about {seconds:.0f} s to go"
            print(line, file=sys.stderr, flush=True)

    def note(self, line: str) -> None:
        """Print ``line`` above the bar."""
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._bar.stop()
