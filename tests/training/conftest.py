"""Small shards of tones, written as `lanser build` writes them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

LABELS = ["anger", "joy", "sadness"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small gain nothing from more threads, which wait for each other on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


def tone(number: int, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(number).normal(0, 0.01, len(t))
    return (0.2 * np.sin(2 * np.pi * (150 + 200 * (number % 3)) * t) + noise).astype(np.float32)


def flac(wave: np.ndarray) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, wave, 16000, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def weak_label(number: int, labels: list[str], taxonomy: str, prior: str, prior_strength: float) -> dict:
    scores = [0.1 + 0.01 * ((number + index) % 7) for index in range(len(labels))]
    scores[number % len(labels)] = 0.8
    return {
        "taxonomy": taxonomy, "labels": labels, "label": labels[number % len(labels)],
        "label_index": number % len(labels), "entailment": scores, "score": 0.8, "margin": 0.1 + 0.1 * (number % 5),
        "prior": prior, "prior_strength": prior_strength, "text": f"text {number}",
    }  # fmt: skip


def write_shards(
    folder: Path,
    counts: list[int],
    labels=LABELS,
    taxonomy="tiny",
    seconds=0.6,
    split="train",
    first=0,
    broken=(),
    prior="none",
    prior_strength=1.0,
    sound=tone,
) -> Path:
    """Tars of ``counts`` samples each; sample n is `n` in 16 hex digits; numbers in ``broken`` hold no audio."""
    folder.mkdir(parents=True, exist_ok=True)
    number = first
    for shard, count in enumerate(counts):
        with tarfile.open(folder / f"{split}-{shard:05d}-of-{len(counts):05d}.tar", "w") as tar:
            for _ in range(count):
                members = {
                    "cls": str(number % len(labels)).encode(),
                    "flac": b"no audio" if number in broken else flac(sound(number, seconds)),
                    "json": json.dumps(weak_label(number, labels, taxonomy, prior, prior_strength)).encode(),
                }
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{number:016x}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                number += 1
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training shards of 7, 5, 6, 7 and 3 samples and a validation shard of 4."""
    folder = tmp_path_factory.mktemp("corpus") / "shards"
    write_shards(folder, [7, 5, 6, 7, 3])
    return write_shards(folder, [4], split="val", first=100)


@pytest.fixture(scope="session")
def make_shards():
    return write_shards
