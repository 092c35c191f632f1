"""cuBLAS for CTranslate2, which loads it by name and does not bring it along.

Wheels of torch bring the version that they need, which is another one for CUDA 13. NVIDIA's packages put libraries
where the system does not look for them, but a library that is loaded already is found by its name.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lanser_ops.common.errors import InputError

CUBLAS = "libcublas.so.12"
LIBRARIES = ("libcublasLt.so.12", CUBLAS)  # the second needs the first


def load_cublas(libraries: Sequence[str] = LIBRARIES) -> None:
    """Load ``libraries`` in that order, from the system or else from NVIDIA's packages.

    Raises InputError for one that is in neither.
    """
    for name in libraries:
        candidates = [name, *map(str, packaged_libraries(sys.path, name))]
        if not any(_loaded(candidate) for candidate in candidates):
            raise InputError(
                f"CTranslate2 needs {name} on a GPU, and it cannot be loaded; pip install 'lanser[cuda]', or give "
                "--device cpu"
            )


def packaged_libraries(paths: Sequence[str], name: str) -> Iterator[Path]:
    """The files of that name in NVIDIA's packages below ``paths``."""
    return (file.resolve() for path in paths for file in Path(path).glob(f"nvidia/*/lib/{name}"))


def _loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
