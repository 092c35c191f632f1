"""Pre-training steps per second from shards and over cached tensors, by `benchmarks/training.py`."""

from __future__ import annotations

import json
import statistics
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from accelerate import Accelerator

from benchmarks import training
from benchmarks.gpu_parts.recognition import cut, read_speech
from benchmarks.gpu_parts.settings import Row, Settings, run_part, significant
from lanser_ops.audio.encode import encode_flac
from schemas.taxonomy import load_taxonomy
from training.dataset import Layout

CLIP_S = 4.0
BATCHES = 4  # in each loader's shards
TAXONOMY = "ekman"


def measure(settings: Settings) -> Iterator[Row]:
    sizes = settings.sizes
    on_gpu = settings.device == "cuda"
    shards = Path(settings.folder, "shards")
    write_shards(shards, sizes.loaders, BATCHES * sizes.batch_size)
    layout = Layout(0, sizes.batch_size, CLIP_S, sizes.loaders, 500)
    accelerator = Accelerator(mixed_precision="bf16" if on_gpu else "no", cpu=not on_gpu)
    rates = training.measure(accelerator, [str(shards)], sizes.backbone, layout, sizes.steps, sizes.rounds)
    cached, from_shards = statistics.median(rates.cached), statistics.median(rates.shards)
    yield {
        "table": "Pre-training",
        "backbone": sizes.backbone,
        "batch": f"{sizes.batch_size} clips of {CLIP_S:g} s",
        "loader processes": sizes.loaders,
        "steps/s from shards": significant(from_shards),
        "steps/s, cached": significant(cached),
        "ratio": round(from_shards / cached, 3),
    }


def write_shards(folder: Path, count: int, samples: int) -> None:
    """``count`` tars of ``samples`` samples each, as `lanser build` writes them, with labels in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    taxonomy = load_taxonomy(TAXONOMY)
    labels = [label.name for label in taxonomy.labels]
    clips = cut(read_speech(), CLIP_S, count * samples)
    for shard in range(count):
        with tarfile.open(folder / f"train-{shard:05d}-of-{count:05d}.tar", "w") as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                label = number % len(labels)
                fields = {
                    "taxonomy": TAXONOMY, "labels": labels, "label": labels[label], "label_index": label,
                    "entailment": [0.9 if index == label else 0.1 for index in range(len(labels))],
                    "score": 0.9, "margin": 0.8, "prior": "none", "prior_strength": 0.0, "text": f"text {number}",
                }  # fmt: skip
                members = {
                    "cls": str(label).encode(),
                    "flac": encode_flac(clips[number]),
                    "json": json.dumps(fields).encode(),
                }
                for suffix, content in members.items():
                    member = tarfile.TarInfo(f"{number:016x}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))


if __name__ == "__main__":
    run_part("pretraining", measure)
