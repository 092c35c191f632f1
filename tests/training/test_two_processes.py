from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from training.checkpoints import list_checkpoints
from training.dataset import Batch, ShardReader, make_loader
from training.features import Augment
from training.loop import backward

SCRIPT = Path(__file__).parent / "two_processes.py"
ROOT = Path(__file__).parents[2]


def launch(*command):
    """Two processes on the CPU, one thread each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run_command([*launcher, *map(str, command)])
    assert done.returncode == 0, done.stderr[-3000:]


def run_command(command):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(shards, tmp_path_factory):
    output = tmp_path_factory.mktemp("ranks")
    launch(SCRIPT, shards, output)
    return output, [json.loads((output / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_each_sample_once_and_equal_steps(ranks):
    _, reports = ranks
    assert len(reports[0]["keys"]) == len(reports[1]["keys"]) >= 4
    numbers = [int(key, 16) for rank in reports for batch in rank["keys"] for key in batch]
    assert sorted(numbers) == list(range(28))
    assert reports[0]["losses"] == reports[1]["losses"]


def test_averaged_gradient_is_that_of_one_process_with_the_doubled_batch(ranks, shards, script):
    output, reports = ranks
    corpus = script.corpus(str(shards))
    model = script.network(corpus)
    halves = []
    for rank in (0, 1):
        reader = ShardReader(corpus, script.layout(rank), Augment(), range(1), 0)
        halves.append(list(make_loader(reader, processes=False, pin=False)))
    accelerator = Accelerator(cpu=True)
    for step, (first, second) in enumerate(zip(*halves, strict=True)):
        tensors = ("waves", "lengths", "targets", "weights", "draws")
        joined = [torch.cat([getattr(first, name), getattr(second, name)]) for name in tensors]
        loss, samples, _ = backward(accelerator, model, [Batch(first.keys + second.keys, *joined, [])], Augment())
        assert samples == len(first.keys) + len(second.keys)
        assert loss == pytest.approx(reports[0]["losses"][step], rel=1e-5)
        averaged = load_file(output / f"step-{step}.safetensors")
        for name, weight in model.named_parameters():
            assert torch.allclose(averaged[name], weight.grad, rtol=1e-3, atol=1e-6), (step, name)
        model.zero_grad()


def test_pretrain_in_two_processes(make_shards, tmp_path):
    run = tmp_path / "run"
    shards = make_shards(tmp_path / "shards", [7, 5, 10, 6])
    make_shards(shards, [1], split="val", first=100)  # none is left for the other process
    launch(
        "-m", "training.pretrain", "--shards", shards, "--output", run, "--backbone", "resnet10-half",
        "--device", "cpu", "--epochs", 2, "--batch-size", 4, "--crop-s", 0.5, "--in-process", "--checkpoint-every", 3,
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 8
    assert len([line for line in lines if "val_loss" in line]) == 2
    assert list_checkpoints(run)[-1].name == f"step-{len(steps):08d}"
    assert (run / "model" / "model.safetensors").is_file()


def test_accelerate_launch_in_two_processes(shards, tmp_path):
    # On CPUs accelerate starts several processes through MPI alone, and says nothing of those that it leaves out.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["-m", "training.pretrain", "--shards", str(shards), "--output", str(tmp_path / "run")]
    command += ["--backbone", "resnet10-quarter", "--epochs", "1", "--batch-size", "4", "--crop-s", "0.5"]
    done = run_command(command)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
