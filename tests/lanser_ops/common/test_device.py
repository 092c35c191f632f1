from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lanser_ops.common.device import resolve_device, visible_gpus
from lanser_ops.common.errors import InputError

HAS_GPU = torch.cuda.is_available()


def test_auto_is_the_gpu_if_there_is_one():
    assert resolve_device("auto") == ("cuda" if HAS_GPU else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--device cuda: torch sees no GPU; use --device cpu"):
        resolve_device("cuda")


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_driver_torch_is_not_imported():
    program = (
        "import sys; from lanser_ops.common.device import resolve_device as r; print(r('auto'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "cpu False\n"


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [("0,1", ("0", "1")), (" GPU-8932f937, 3 ", ("GPU-8932f937", "3")), ("", ()), ("-1", ()), ("2,-1,3", ("2",))],
)
def test_the_gpus_that_are_seen_are_those_of_cudas_variable(
    variable: str, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ()
