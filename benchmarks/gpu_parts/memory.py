"""Memory and speed of recognition by the seconds of windows in a batch, `BATCH_SECONDS` in `whisper_recognizer`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.gpu_parts.chip import peak_memory, used_memory
from benchmarks.gpu_parts.models import TURBO
from benchmarks.gpu_parts.recognition import cut, load, read_speech, texts
from benchmarks.gpu_parts.settings import Row, Settings, pace, run_part, significant

CLIP_S = 4.0
GIB = 2**30


def measure(settings: Settings) -> Iterator[Row]:
    """Batches grow, since CTranslate2 keeps what it has allocated."""
    sizes = settings.sizes
    clips = cut(read_speech(), CLIP_S, int(sizes.audio_s / CLIP_S))
    before = used_memory(settings.device)
    loaded = load(settings, TURBO)
    weights = used_memory(settings.device) - before
    for full_windows in (True, False):
        for batch_seconds in sizes.batch_seconds:
            recognizer = replace(loaded, full_windows=full_windows, batch_seconds=batch_seconds)
            with peak_memory(settings.device) as peak:
                measured = pace(lambda part, model=recognizer: texts(model, part), clips, sizes)
            yield {
                "table": "Memory of recognition",
                "windows": "full, as on a GPU" if full_windows else "by length, as on a CPU",
                "s of windows in a batch": batch_seconds,
                "ended with": recognizer.batch_seconds,  # it is halved where memory does not suffice
                "GiB of weights": round(weights / GIB, 2),
                "GiB at most": round((peak[0] - before) / GIB, 2),
                "audio s/s": significant(measured.count * CLIP_S / measured.seconds),
            }


if __name__ == "__main__":
    run_part("memory", measure)
