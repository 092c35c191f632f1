"""benchmarks/gpu.py, which is for GPU machines, from end to end on a CPU with tiny sizes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu import PARTS, run
from benchmarks.gpu_parts.packages import cublas_folders, install
from benchmarks.gpu_parts.settings import Sizes, pace

REPOSITORY = Path(__file__).parents[2]

SYSTEMS = [
    "LanSER as on a GPU: full windows, beam 5",
    "LanSER as on a CPU: windows by length, beam 5",
    "LanSER as on a CPU, --short-windows, beam 5",
    "faster-whisper batched, beam 1, batch 2",
    "transformers, beam 1, batch 2",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, REPOSITORY / "benchmarks" / "gpu.py", "--output", folder]
    options = ["--quick", "--device", "cpu", "--time-factor", "5"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True, timeout=900)
    return folder


def test_every_part_writes_its_rows_down(results: Path):
    parts = json.loads((results / "results.json").read_text())["parts"]
    assert {name: part["error"] for name, part in parts.items()} == dict.fromkeys(PARTS)
    rows = [row for part in parts.values() for row in part["rows"]]
    assert [(row["model"], row["system"]) for row in rows if row["table"] == "Recognition"] == [
        (model, system) for model in ("turbo-shape", "tiny.en") for system in SYSTEMS
    ]
    assert {row["model"] for row in rows if row["table"] == "Scoring"} == {"MiniLM", "roberta-shape"}
    memory = [row["windows"] for row in rows if row["table"] == "Memory of recognition"]
    assert memory == ["full, as on a GPU", "by length, as on a CPU"]
    assert not [row for row in rows if "error" in row]
    # The text of a model that dictates it, whatever the implementation.
    assert [row["as dictated"] for row in rows if "as dictated" in row] == [1] * len(SYSTEMS)
    for rate in ("audio s/s", "pairs/s", "steps/s from shards", "steps/s, cached", "TFLOP/s"):
        assert all(row[rate] > 0 for row in rows if rate in row)


def test_the_page_has_a_table_for_each_measurement(results: Path):
    page = (results / "results.md").read_text()
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Machine", "## Matrix products", "## Models", "## Recognition", "## Scoring", "## Memory of recognition",
        "## Pre-training", "## Parts",
    ]  # fmt: skip
    assert "its figures mean nothing" in page
    assert [path.name for path in sorted(results.iterdir())] == ["results.json", "results.md"]


def test_a_part_that_fails_or_takes_too_long_is_said_why(tmp_path: Path):
    python = [sys.executable, "-c"]
    errors = tmp_path / "errors"
    assert run([*python, "raise MemoryError('no room')"], errors, 60) == "ended with status 1: MemoryError: no room"
    assert run([*python, "import time; time.sleep(60)"], errors, 1) == (
        "ended after 1 s; what is missing was not measured"
    )
    assert run([*python, "print('done')"], errors, 60) is None


def test_as_many_items_are_measured_as_the_time_allows():
    calls: list[int] = []
    sizes = Sizes(measure_s=1e9, pilot=2)
    assert pace(lambda items: calls.append(len(items)), range(5), sizes).count == 5
    assert calls == [2, 2, 5]


def test_missing_packages_are_installed_from_a_folder_of_wheels(tmp_path: Path):
    information = "small-1.dist-info"
    with zipfile.ZipFile(tmp_path / "small-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("small.py", "number = 3\n")
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    python = install(["small"], tmp_path, tmp_path / "venv")
    # What is installed for this interpreter can be imported too.
    program = "import small, numpy, sys; print(small.number, numpy.__name__, sys.prefix)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"3 numpy {tmp_path / 'venv'}\n"
    with pytest.raises(RuntimeError, match="No matching distribution found for large"):
        install(["large"], tmp_path, tmp_path / "other")


def test_cublas_is_found_among_the_packages(tmp_path: Path):
    packages, links = tmp_path / "site-packages", tmp_path / "links"
    assert cublas_folders([str(packages)], links) == []
    (packages / "nvidia" / "cu13" / "lib").mkdir(parents=True)
    (packages / "nvidia" / "cu13" / "lib" / "libcublas.so.13").write_bytes(b"the next version")
    assert cublas_folders([str(packages)], links) == [str(links), str(packages / "nvidia" / "cu13" / "lib")]
    assert (links / "libcublas.so.12").read_bytes() == b"the next version"
    (packages / "nvidia" / "cublas" / "lib").mkdir(parents=True)
    (packages / "nvidia" / "cublas" / "lib" / "libcublas.so.12").write_bytes(b"")
    assert cublas_folders([str(packages)], links) == [str(packages / "nvidia" / "cublas" / "lib")]
