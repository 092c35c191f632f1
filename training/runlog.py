"""The log of a run: a line of JSON per step, experiment trackers, and progress on stderr."""

from __future__ import annotations

import json
import time
from pathlib import Path

from accelerate import Accelerator

from training.progress import StepProgress

LOG = "log.jsonl"


class RunLog:
    """The log of a run; ``total`` counts its optimizer steps, ``done`` those before it was resumed.

    Lines of steps after ``done`` are removed from the log: these steps are about to be repeated. ``accelerator`` has
    the trackers, which must have been started.
    """

    def __init__(self, run: Path, accelerator: Accelerator, total: int, done: int):
        self._path, self._accelerator = run / LOG, accelerator
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.exists() else []
        # Renamed into place, so that a process that is killed here leaves the figures of the steps before.
        temporary = run / f".{LOG}"
        temporary.write_text("".join(line for line in lines if _belongs(line, done)), encoding="utf-8")
        temporary.rename(self._path)
        self._file = self._path.open("a", encoding="utf-8")
        self._progress = StepProgress(total, done)
        self._start, self._samples = time.monotonic(), 0

    def write(self, step: int, **values: float | int | str) -> None:
        """Write a line for ``step``; numbers among ``values`` go to the trackers too."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        if numbers:
            self._accelerator.log(numbers, step=step)

    def advance(self, step: int, loss: float, samples: int) -> float:
        """Show that ``step`` is done, with ``samples`` in it; returns samples per second since the start."""
        self._samples += samples
        rate = self._samples / max(time.monotonic() - self._start, 1e-9)
        self._progress.update(step, f"loss {loss:.4f}, {rate:.1f} samples/s")
        return rate

    def announce(self, message: str) -> None:
        """Show a line above the progress bar."""
        self._progress.note(message)

    def close(self) -> None:
        self._progress.close()
        self._file.close()


def _belongs(line: str, done: int) -> bool:
    """Whether ``line`` is complete and of the first ``done`` steps; a killed run may leave a partial line."""
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= done
    except (ValueError, KeyError, TypeError):
        return False
