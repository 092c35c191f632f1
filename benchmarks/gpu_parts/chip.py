"""The chip: what it is, how fast it multiplies matrices, and how much of its memory is in use."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator

import ctranslate2
import psutil
import torch

from benchmarks.gpu_parts.settings import Row, Settings, run_part, significant

VERSIONS = ("torch", "ctranslate2", "faster-whisper", "transformers", "accelerate", "numpy")
TYPES = {"cpu": (torch.float32,), "cuda": (torch.bfloat16, torch.float16, torch.float32)}
# The type that LanSER scores in.
SCORING_TYPE = {"cpu": torch.float32, "cuda": torch.bfloat16}
SAMPLE_S = 0.005


def measure(settings: Settings) -> Iterator[Row]:
    facts = {"Python": platform.python_version(), "processor": _processor(), "cores": os.cpu_count()}
    if settings.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "chip": properties.name,
            "chip's memory, GiB": round(properties.total_memory / 2**30, 1),
            "driver": _driver(),
            "CUDA of torch": torch.version.cuda,
            "GPUs that CTranslate2 sees": ctranslate2.get_cuda_device_count(),
            "cuBLAS for CTranslate2": os.environ.get("LD_LIBRARY_PATH") or "the system's",
        }
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[name] = importlib.metadata.version(name)
    for name, value in facts.items():
        yield {"table": "Machine", "what": name, "value": value}
    size = settings.sizes.matmul
    for kind in TYPES[settings.device]:
        rate = matmul_rate(settings.device, kind, size)
        name = str(kind).removeprefix("torch.")
        yield {"table": "Matrix products", "type": name, "size": size, "TFLOP/s": significant(rate / 1e12)}


def matmul_rate(device: str, kind: torch.dtype, size: int) -> float:
    """Floating-point operations per second of the best of five products of square matrices of random numbers."""
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    times = []
    for _ in range(7):
        synchronise(device)
        start = time.perf_counter()
        left @ right
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times[2:])


def synchronise(device: str) -> None:
    """Wait for what was started on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """A list whose last number will be the bytes that were in use at most: of the GPU, by whatever library; or, on a
    CPU, of this process."""
    peak, stopped = [used_memory(device)], threading.Event()

    def watch() -> None:
        while not stopped.wait(SAMPLE_S):
            peak[0] = max(peak[0], used_memory(device))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join()


def used_memory(device: str) -> int:
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return total - free
    return psutil.Process().memory_info().rss


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown: nvidia-smi cannot be run"


if __name__ == "__main__":
    run_part("chip", measure)
