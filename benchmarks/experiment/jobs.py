"""Commands with an output of their own, run in this process, and skipped when they are done."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lanser_ops.cli import main as lanser

RECORD, LOG = "job.json", "log.txt"


@dataclass(frozen=True)
class Job:
    """A `lanser` command that writes to ``output``."""

    output: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(["lanser", *self.arguments])

    def seconds(self) -> float | None:
        """The CPU time that the command took; None unless it has run to its end."""
        path = self.output / RECORD
        record = json.loads(path.read_text()) if path.exists() else {}
        return record["cpu_s"] if record.get("command") == self.command else None

    def run(self) -> None:
        """Run the command unless it is done. One that fails ends the experiment; its messages are in LOG."""
        if self.seconds() is not None:
            return
        self.output.mkdir(parents=True, exist_ok=True)
        begin = time.process_time()
        with (
            (self.output / LOG).open("a") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            status = lanser(self.arguments)
        if status:
            raise SystemExit(f"{self.command}: failed; see {self.output / LOG}")
        record = {"command": self.command, "cpu_s": round(time.process_time() - begin, 1)}
        (self.output / RECORD).write_text(json.dumps(record) + "\n")


def is_done(jobs: Sequence[Job]) -> bool:
    """Whether all of ``jobs`` have run to their end."""
    return all(job.seconds() is not None for job in jobs)


def run_all(jobs: Sequence[Job]) -> None:
    """Run those of ``jobs`` that are not done, in order."""
    waiting = [job for job in jobs if job.seconds() is None]
    for number, job in enumerate(waiting, 1):
        job.run()
        print(f"{number} of {len(waiting)} done, {job.seconds():.0f} s of CPU: {job.command}", flush=True)
