"""The log of a run: a line of JSON per step, TensorBoard, and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
# Without a terminal, progress is a plain line whenever this share of the steps is done.
PLAIN_SHARE = 0.1


class RunLog:
    """The log of a run; ``total`` counts its optimizer steps, ``done`` those before it was resumed.

    Lines of steps after ``done`` are removed from the log: these steps are about to be repeated.
    """

    def __init__(self, run: Path, total: int, done: int):
        self._path = run / LOG
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.exists() else []
        self._path.write_text("".join(line for line in lines if _belongs(line, done)), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=done + 1)
        console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("step"), BarColumn(), TextColumn("{task.completed}/{task.total} {task.fields[message]} ETA"),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("steps", total=total, completed=done, message="")
        self._bar.start()
        self._total, self._first, self._shown = total, done, done
        self._start, self._samples = time.monotonic(), 0

    def write(self, step: int, **values: float | int | str) -> None:
        """Write a line for ``step``; numbers among ``values`` go to TensorBoard too."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def advance(self, step: int, loss: float, samples: int) -> float:
        """Show that ``step`` is done, with ``samples`` in it; returns samples per second since the start."""
        self._samples += samples
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._samples / seconds
        self._bar.update(self._task, completed=step, message=f"loss {loss:.4f}, {rate:.1f} samples/s")
        if self._bar.disable and (step == self._total or step >= self._shown + PLAIN_SHARE * self._total):
            self._shown = step
            left = (self._total - step) * seconds / max(step - self._first, 1)
            message = f"step {step}/{self._total}: loss {loss:.4f}, {rate:.1f} samples/s, about {left:.0f} s to go"
            print(message, file=sys.stderr, flush=True)
        return rate

    def announce(self, message: str) -> None:
        """Show a line above the progress bar."""
        self._bar.console.print(message, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()
        self._board.close()
        self._file.close()


def _belongs(line: str, done: int) -> bool:
    """Whether ``line`` is complete and of the first ``done`` steps; a killed run may leave a partial line."""
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= done
    except (ValueError, KeyError, TypeError):
        return False
