"""What the parts of the benchmark share: how much they do, and how they hand in what they measured."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # of a table, by column; "table" is its title
ROWS = "rows-{}.jsonl"


@dataclass(frozen=True)
class Shape:
    """A transformer's layers, width, heads and inner width; ``decoder_layers`` and ``mels`` are Whisper's."""

    layers: int
    width: int
    heads: int
    inner: int
    decoder_layers: int = 0
    mels: int = 80


# https://huggingface.co/openai/whisper-large-v3-turbo and https://huggingface.co/FacebookAI/roberta-large-mnli
TURBO = Shape(32, 1280, 20, 5120, decoder_layers=4, mels=128)
ROBERTA = Shape(24, 1024, 16, 4096)


@dataclass(frozen=True)
class Sizes:
    """How much is done: ``measure_s`` is how long a figure is measured for, at least; ``audio_s`` how much audio a
    recogniser gets at most; ``pilot`` how many clips, or premises, are tried to find out how many to measure with."""

    asr_shape: Shape = TURBO
    nli_shape: Shape = ROBERTA
    measure_s: float = 3.0
    audio_s: float = 4800.0
    pilot: int = 64
    clip_seconds: tuple[float, ...] = (2.0, 4.0, 10.0)
    peers: tuple[tuple[int, int], ...] = ((5, 16), (1, 64))  # (beam size, batch size)
    batch_seconds: tuple[float, ...] = (300.0, 600.0, 1200.0, 2400.0, 4800.0)
    batch_tokens: tuple[int, ...] = (1024, 4096, 16384, 65536)
    premises: int = 680
    matmul: int = 8192
    backbone: str = "resnet50"
    batch_size: int = 64
    steps: int = 30
    rounds: int = 3
    loaders: int = 4


FULL = Sizes()
QUICK = Sizes(
    asr_shape=Shape(2, 64, 2, 128, decoder_layers=2, mels=80),
    nli_shape=Shape(2, 64, 2, 128),
    measure_s=0.0,
    audio_s=4.0,
    pilot=1,
    clip_seconds=(2.0,),
    peers=((1, 2),),
    batch_seconds=(16.0,),
    batch_tokens=(256,),
    premises=1,
    matmul=256,
    backbone="resnet10-half",
    batch_size=2,
    steps=1,
    rounds=1,
    loaders=1,
)


@dataclass(frozen=True)
class Settings:
    """``device`` is cpu or cuda; ``folder`` holds the models that the part ``models`` writes, and the rows of all."""

    device: str
    folder: str
    quick: bool

    @property
    def sizes(self) -> Sizes:
        return QUICK if self.quick else FULL

    def command(self, part: str) -> list[str]:
        """The command of a part in a process of its own."""
        return [sys.executable, "-m", f"benchmarks.gpu_parts.{part}", json.dumps(asdict(self))]


def run_part(part: str, measure: Callable[[Settings], Iterator[Row]]) -> None:
    """Run the part whose settings are the argument of this process; each row is on disk before the next is measured."""
    settings = Settings(**json.loads(sys.argv[1]))
    with Path(settings.folder, ROWS.format(part)).open("w", encoding="utf-8") as stream:
        for row in measure(settings):
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            stream.write(json.dumps(row) + "\n")
            stream.flush()


def significant(rate: float) -> float:
    """``rate`` to three digits: that of a slow machine is not 0.

    >>> significant(0.012345), significant(19123.4)
    (0.0123, 19100.0)
    """
    return float(f"{rate:.3g}")


@dataclass(frozen=True)
class Measurement:
    """``results`` of ``count`` items, in ``seconds``."""

    count: int
    seconds: float
    results: Any


def pace(run: Callable[[Sequence[Any]], Any], items: Sequence[Any], sizes: Sizes) -> Measurement:
    """A call of ``run`` with as many of ``items`` as take ``sizes.measure_s``.

    That is judged by a call with ``sizes.pilot`` of them, after a first one, which loads kernels and fills caches.
    """
    pilot = items[: sizes.pilot]
    run(pilot)
    measurement = _timed(run, pilot)
    count = min(len(items), round(len(pilot) * sizes.measure_s / measurement.seconds))
    return measurement if count <= len(pilot) else _timed(run, items[:count])


def _timed(run: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Measurement:
    start = time.perf_counter()
    results = run(items)
    return Measurement(len(items), time.perf_counter() - start, results)
