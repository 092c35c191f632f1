#!/usr/bin/env python3
"""What LanSER does on a GPU, beside faster-whisper and transformers: one command for a machine without a network.

    python benchmarks/gpu.py --output out/gpu
    python benchmarks/gpu.py --output out/gpu --wheels wheels     # installs from that folder what is not there
    python benchmarks/gpu.py --output out/gpu --quick --device cpu     # a trial: everything runs, no figure means much

Prints what it measures and writes it to results.json and results.md. It takes less than nine minutes: each part runs
in a process of its own and is ended when its time is up; what it had measured by then stays. An error in one part is
written down, and the next one begins. The models are the bundled ones, and random weights in the shapes of Whisper
large-v3-turbo and roberta-large, made on the machine (`benchmarks/gpu_parts/models.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
# The parts in their order, and the seconds that each may take.
PARTS = {"chip": 30, "models": 90, "recognition": 220, "scoring": 70, "memory": 70, "pretraining": 50}
NEEDED = "models"  # by all that follow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install what is missing from these wheels")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny models, few clips: to see that everything works")
    parser.add_argument(
        "--time-factor", type=float, default=1.0, metavar="N", help="give every part N times as long, on a busy machine"
    )
    args = parser.parse_args()
    started = time.monotonic()
    # The packages of this repository, for this process and for those of the parts.
    sys.path.insert(0, ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    from benchmarks.gpu_parts.packages import cublas_folders, missing

    args.output.mkdir(parents=True, exist_ok=True)
    if absent := missing():
        folder = args.output / "venv"
        if Path(sys.prefix).resolve() == folder.resolve():
            raise SystemExit(f"--wheels {args.wheels}: installed, and still missing: {' '.join(absent)}")
        again_with(install_or_exit(absent, args.wheels, folder))

    from benchmarks.gpu_parts.page import page  # what it imports may have been missing until here
    from benchmarks.gpu_parts.settings import ROWS, Settings

    parts = {}
    with tempfile.TemporaryDirectory(dir=args.output) as folder:
        settings = Settings(args.device, folder, args.quick)
        if args.device == "cuda":
            libraries = [*cublas_folders(sys.path, Path(folder, "cublas")), os.environ.get("LD_LIBRARY_PATH")]
            os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
        for part in PARTS:
            if part != NEEDED and part not in args.parts:
                continue
            limit_s = args.time_factor * PARTS[part]
            print(f"\n{part}: at most {limit_s:g} s", flush=True)
            start = time.monotonic()
            error = run(settings.command(part), Path(folder, "errors"), limit_s)
            file = Path(folder, ROWS.format(part))
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            parts[part] = {"seconds": round(time.monotonic() - start, 1), "error": error, "rows": rows}
            if error:
                print(f"{part}: {error}", flush=True)
    results = {"command": sys.orig_argv[1:], "quick": args.quick, "parts": parts}
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (args.output / "results.md").write_text(page(results), encoding="utf-8")
    print(f"\n{args.output / 'results.md'}, {args.output / 'results.json'}: {time.monotonic() - started:.0f} s in all")


def install_or_exit(absent: list[str], wheels: Path | None, folder: Path) -> str:
    """The Python of a virtual environment that has ``absent`` too; ends this process with a line if there is none."""
    if wheels is None:
        raise SystemExit(
            f"missing: {' '.join(absent)}; install them, or give --wheels DIR with their wheels (make gpu-kit)"
        )
    from benchmarks.gpu_parts.packages import install

    print(f"installing {' '.join(absent)} from {wheels}", flush=True)
    try:
        return install(absent, wheels, folder)
    except (OSError, RuntimeError) as error:
        raise SystemExit(f"--wheels {wheels}: {error}") from None


def again_with(python: str) -> None:
    """Run this command with another Python, in the place of this process."""
    os.execv(python, [python, *sys.orig_argv[1:]])


def run(command: list[str], errors: Path, limit_s: float) -> str | None:
    """Why the command failed, None if it did not. It is ended, with its children, after ``limit_s``."""
    with errors.open("w+", encoding="utf-8", errors="replace") as stream:
        process = subprocess.Popen(command, stderr=stream, start_new_session=True)
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"ended after {limit_s:g} s; what is missing was not measured"
        stream.seek(0)
        lines = stream.read().strip().splitlines()
    if status == 0:
        return None
    return f"ended with status {status}: {lines[-1] if lines else 'no message'}"


if __name__ == "__main__":
    main()
