"""Run by torchrun in two processes: one epoch of gradients; every rank writes its keys, the first one the gradients.

Arguments: folder of shards, folder to write to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from training.dataset import Layout, ShardReader, make_loader
from training.features import Augment
from training.loop import backward, end_processes
from training.losses import TargetSpec, label_prior, make_targets
from training.mixture import SampleSet, join
from training.model import new_model
from training.objectives import PretrainNetwork
from training.qualities import ObjectiveSpec
from training.shards import find_shards, read_index


def corpus(folder: str) -> SampleSet:
    index = read_index(find_shards([folder], "train"))
    spec = TargetSpec(soft=True, margin_weighting=True)
    return join([index], [make_targets(index, spec, label_prior(index, spec), seed=0)])


def network(samples: SampleSet) -> PretrainNetwork:
    """In evaluation mode, since in training each process would normalise over its own batch alone."""
    torch.manual_seed(0)
    return PretrainNetwork(new_model("resnet10-half", samples.taxonomy, samples.labels), ObjectiveSpec()).eval()


def layout(rank: int) -> Layout:
    return Layout(seed=3, batch_size=4, crop_s=0.5, workers=1, buffer=5, rank=rank, world=2)


def main(shards: str, output: Path) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    samples = corpus(shards)
    model = accelerator.prepare(network(samples))
    reader = ShardReader(samples, layout(accelerator.process_index), Augment(), range(1), 0)
    keys, losses = [], []
    for step, batch in enumerate(make_loader(reader, processes=False, pin=False)):
        losses.append(backward(accelerator, model, [batch], Augment())[0])
        keys.append(batch.keys)
        if accelerator.is_main_process:
            weights = accelerator.unwrap_model(model).named_parameters()
            gradients = {name: weight.grad.contiguous() for name, weight in weights}
            save_file(gradients, output / f"step-{step}.safetensors")
        model.zero_grad()
    report = {"keys": keys, "losses": losses}
    (output / f"rank-{accelerator.process_index}.json").write_text(json.dumps(report), encoding="utf-8")
    del model
    end_processes(accelerator)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
