"""Loading a library that CTranslate2 looks for by name. Any that is nowhere else on the system will do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lanser_ops.asr import whisper
from lanser_ops.asr.cublas import load_cublas
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef, TranscribeSpec

REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import ctypes, sys
from lanser_ops.asr.cublas import load_cublas
library = sys.argv[1]
try:
    ctypes.CDLL(library)
except OSError:
    print("unknown")
load_cublas([library])
print(ctypes.CDLL(library)._name)
"""


def test_a_library_of_a_package_is_found_by_its_name_once_it_is_loaded(tmp_path: Path):
    (library,) = (Path(sys.prefix) / "lib").glob("python*/site-packages/ctranslate2.libs/libgomp-*.so*")
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    shutil.copyfile(library, folder / library.name)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(tmp_path)])}
    command = [sys.executable, "-c", PROGRAM, library.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"unknown\n{library.name}\n"


def test_the_error_says_how_to_get_a_missing_library():
    message = (
        "CTranslate2 needs libabsent.so.12 on a GPU, and it cannot be loaded; pip install 'lanser[cuda]', or give "
        "--device cpu"
    )
    with pytest.raises(InputError) as error:
        load_cublas(["libabsent.so.12"])
    assert str(error.value) == message


def test_a_missing_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr(whisper, "has_gpu", lambda: False)  # on a machine with a GPU, too
    with pytest.raises(InputError, match="--device cuda: CTranslate2 sees no NVIDIA GPU; use --device cpu"):
        whisper.load(TranscribeSpec(ModelRef("tiny", "", "/nowhere")), "cuda", 1)
