"""Print what Energon reads of the dataset in the first argument, as JSON by key."""

from __future__ import annotations

import json
import sys

from megatron.energon import (
    DefaultTaskEncoder,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_savable_loader,
    get_val_dataset,
    stateless,
)
from megatron.energon.flavors import CrudeSample, Sample
from megatron.energon.task_encoder import Cooker


@edataclass
class Utterance(Sample):
    flac: bytes
    label: int
    text: str


@stateless
def utterance(sample: CrudeSample) -> Utterance:
    return Utterance(
        **basic_sample_keys(sample),
        flac=sample["flac"],
        label=int(sample["cls"]),
        text=json.loads(sample["json"])["text"],
    )


class Encoder(DefaultTaskEncoder):
    cookers = [Cooker(utterance)]
    decoder = None


samples = {}
for split in ("train", "val"):
    dataset = get_val_dataset(
        sys.argv[1],
        split_part=split,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=None,
        task_encoder=Encoder(),
    )
    for sample in get_savable_loader(dataset):
        samples[sample.__key__.rpartition("/")[2]] = [split, sample.label, sample.text, len(sample.flac)]
print(json.dumps({"samples": samples}))
