#!/usr/bin/env python3
"""Hostile files in the place of every file that a command reads: what each command does with them.

    python -m benchmarks.hostile --mutants 40
    python -m benchmarks.hostile --mutants 40 --surfaces out/dataset.json moods.yaml

Beside files made by hand there are seeded mutants, half of them with changed bytes, half with changed values. A command
has to end with exit status 0, 1 or 2, with one line if it is not 0; nothing may change outside of its output directory,
and no canary file may appear, which anything that is executed would create. Tars of audio are attacked in one build,
in which all recordings beside them have to remain.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import re
import resource
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import hostile_files
from benchmarks.fuzz import changed
from benchmarks.hostile_files import Members
from benchmarks.hostile_surfaces import JOB, Surface, prepare, surfaces
from lanser_ops import cli

MOST_SECONDS = 120
# Folders of the workspace that commands write to.
OUTPUTS = ("out", "new", "run")
AUDIO_TARS = "audio/*.tar"


@dataclass(frozen=True)
class Verdict:
    """``end`` is ``done`` or ``refused``; ``faults`` are what a command may not do."""

    end: str
    line: str
    faults: tuple[str, ...]


def run(argv: Sequence[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command in this process, which may take `MOST_SECONDS`."""
    stdout, stderr = io.StringIO(), io.StringIO()

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {MOST_SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = cli.main(list(argv))
    finally:
        signal.alarm(0)
    return status, stdout.getvalue(), stderr.getvalue()


def verdict(argv: Sequence[str], root: Path, work: Path, canary: Path) -> Verdict:
    """Run a command on ``work``, a folder below ``root``, and judge it."""
    before = snapshot(root, work)
    try:
        status, stdout, stderr = run(argv)
    except BaseException as error:  # that even the guard of the commands lets pass
        status, stdout, stderr = -1, "", f"{type(error).__name__}: {error}"
    lines = [line for line in stderr.splitlines() if not re.match(r"warning: |[a-z ]+: [\d,]+ of |reading ", line)]
    heads = [line for line in lines if line.startswith(f"lanser {argv[0]}: ")]
    faults = []
    if status not in (0, 1, 2):
        faults.append(f"exit status {status}")
    if status and (len(heads) != 1 or (len(lines) > 1 and argv[0] != "verify")):
        faults.append(f"{len(lines)} lines")
    if "Traceback" in stdout + stderr or "--verbose shows" in stderr:
        faults.append("unclear")
    if any(not char.isprintable() and char not in "\n\r\t" for char in stdout + stderr):
        faults.append("control characters")
    faults += [f"outside: {name}" for name in sorted(before ^ snapshot(root, work))][:3]
    if canary.exists():
        faults.append("executed")
        canary.unlink()
    return Verdict("refused" if status else "done", " | ".join(lines) if status else "", tuple(faults))


def snapshot(root: Path, work: Path) -> set[tuple[str, str]]:
    """Every file below ``root`` with its content's hash, but for the folders of ``work`` that commands write to."""
    skipped = [work / name for name in OUTPUTS]
    return {
        (str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in root.rglob("*")
        if not any(path.is_relative_to(folder) for folder in skipped)
    }


def attacks(surface: Surface, content: bytes, mutants: int, seed: int, canary: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files that take the place of ``content``."""
    yield from surface.crafted(str(canary)).items()
    for number in range(mutants):
        random = np.random.default_rng([seed, number])
        change = surface.changed_values if number % 2 else changed
        yield f"mutant {number}", change(content, random)


def attack(name: str, root: Path, mutants: int, seed: int, every: int = 1) -> Iterator[tuple[str, str, Verdict]]:
    """(attack, command, verdict) of every ``every``-th attack on one file; ``root`` holds the prepared workspace."""
    pristine, canary = root / "a" / "b" / "pristine", root / "outside" / "executed"
    surface = surfaces(pristine)[name]
    content = (pristine / surface.place).read_bytes()
    work = pristine.with_name("work")
    for title, hostile in islice(attacks(surface, content, mutants, seed, canary), 0, None, every):
        shutil.copytree(pristine, work)
        (work / surface.place).write_bytes(hostile)
        for command in surface.commands:
            argv = [word.format(work=work) for word in command]
            yield title, command[0], verdict(argv, root, work, canary)
        shutil.rmtree(work)


def audio_tars(root: Path, mutants: int, seed: int) -> tuple[Verdict, Counter[str]]:
    """The verdict on one job over hostile tars of audio with recordings beside them, and what became of the rows."""
    pristine, canary = root / "a" / "b" / "pristine", root / "outside" / "executed"
    work = pristine.with_name("work")
    folder = work / "tars"
    folder.mkdir(parents=True)
    audio = (pristine / "audio" / "a.flac").read_bytes()
    good: Members = [("good.flac", audio), ("better.flac", audio)]
    crafted = hostile_files.tars(str(canary), good)
    whole = {f"{number:02d}.tar/good.flac" for number, name in enumerate(crafted) if name != "cut"}
    contents = [*crafted.values()]
    base = crafted["same name twice"]
    contents += [changed(base, np.random.default_rng([seed, number])) for number in range(mutants)]
    for number, content in enumerate(contents):
        (folder / f"{number:02d}.tar").write_bytes(content)
        (folder / f"{number:02d}.flac").write_bytes(audio)
    judged = verdict(["transcribe", "--input", str(folder), "--output", str(work / "new"), *JOB], root, work, canary)
    rejects = pq.read_table(work / "new" / "rejects").to_pylist() if judged.end == "done" else []
    outcomes = Counter(row["source"] for row in rejects)
    expected = whole | {f"{number:02d}.flac" for number in range(len(contents))}
    lost = sorted(expected - outcomes.keys())  # a tone is a reject, too: no_speech
    faults = judged.faults + tuple(f"lost: {source}" for source in lost[:3])
    shutil.rmtree(work)
    return Verdict(judged.end, judged.line, faults), Counter(row["reason"] for row in rejects)


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder with a prepared workspace some levels down, and files beside it that nothing may touch."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        (root / "outside").mkdir()
        (root / "outside" / "secret.txt").write_text("secret")
        prepare(root / "a" / "b" / "pristine")
        yield root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=40, help="of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surfaces", nargs="+", help="only these; default: all")
    args = parser.parse_args()
    faulty = 0
    with workspace() as root:
        names = args.surfaces or [*surfaces(root / "a" / "b" / "pristine"), AUDIO_TARS]
        print(f"{'file':<24}{'attacks':>9}{'commands':>10}{'done':>6}{'refused':>9}{'faults':>8}")
        for name in names:
            if name == AUDIO_TARS:
                judged, reasons = audio_tars(root, args.mutants, args.seed)
                faulty += len(judged.faults)
                print(
                    f"{name}, one job: {judged.end}, {dict(reasons)} {' '.join(judged.faults)} {judged.line}",
                    flush=True,
                )
                continue
            verdicts = list(attack(name, root, args.mutants, args.seed))
            ends = Counter(judged.end for _, _, judged in verdicts)
            faults = [(title, command, judged) for title, command, judged in verdicts if judged.faults]
            titles = {title for title, _, _ in verdicts}
            print(
                f"{name:<24}{len(titles):>9}{len(verdicts):>10}{ends['done']:>6}{ends['refused']:>9}{len(faults):>8}",
                flush=True,
            )
            for title, command, judged in faults:
                print(f"  {title}, {command}: {', '.join(judged.faults)}: {judged.line[:300]}", flush=True)
            faulty += len(faults)
    print(f"{faulty} faults; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    raise SystemExit(faulty > 0)


if __name__ == "__main__":
    main()
