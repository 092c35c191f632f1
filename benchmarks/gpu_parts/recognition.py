"""Audio seconds per second of LanSER, faster-whisper's batched pipeline and transformers' pipeline on the same clips.

All get the same arrays, weights, type and language. Each implementation is given as many clips as keep it busy for the
same time, from the same list. On a CPU `benchmarks/asr.py` is the fairer comparison: there, LanSER uses the cores in
another way than the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from faster_whisper import BatchedInferencePipeline

from benchmarks.gpu_parts.models import FOR_CTRANSLATE2, FOR_TRANSFORMERS, TEXT, TINY, TURBO
from benchmarks.gpu_parts.settings import Row, Settings, pace, run_part, significant
from benchmarks.peers import Recognise, batched_pipeline, transformers_pipeline
from lanser_ops.asr import whisper
from lanser_ops.asr.base import Clip
from lanser_ops.asr.whisper_recognizer import WhisperRecognizer, load_recognizer
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.backends import BUNDLED
from schemas.specs import TranscribeSpec

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
VOICES = ("awb", "kal", "rms", "slt")
LANGUAGE = "en"


def measure(settings: Settings) -> Iterator[Row]:
    sizes = settings.sizes
    speech = read_speech()
    by_model = {name: list(systems(settings, name, load(settings, name))) for name in (TURBO, TINY)}
    for seconds in sizes.clip_seconds:
        clips = cut(speech, seconds, int(sizes.audio_s / seconds))
        for model, implementations in by_model.items():
            for system, recognise in implementations:
                row: Row = {"table": "Recognition", "model": model, "s per clip": seconds, "system": system}
                try:
                    measured = pace(recognise, clips, sizes)
                except Exception as error:  # of one implementation, such as a lack of memory
                    yield {**row, "error": f"{type(error).__name__}: {error}"[:200]}
                    continue
                row |= {"clips": measured.count, "s": round(measured.seconds, 2)}
                row["audio s/s"] = significant(measured.count * seconds / measured.seconds)
                if model == TURBO:
                    row["as dictated"] = sum(text.strip() == TEXT.strip() for text in measured.results)
                yield row


def load(settings: Settings, model: str) -> WhisperRecognizer:
    """LanSER's recogniser for one of the benchmark's models, with default options; `replace` gives it others."""
    name = BUNDLED if model == TINY else str(Path(settings.folder, FOR_CTRANSLATE2, model))
    spec = TranscribeSpec(whisper.resolve(name))
    recognizer = load_recognizer(replace(spec, short_windows=True), settings.device, threads=0)
    return replace(recognizer, spec=spec)


def systems(settings: Settings, model: str, recognizer: WhisperRecognizer) -> Iterator[tuple[str, Recognise]]:
    """(name, function from arrays to texts) of each implementation."""
    full = replace(recognizer, full_windows=True)
    by_length = replace(recognizer, full_windows=False)
    short = replace(by_length, spec=replace(recognizer.spec, short_windows=True))
    beams = recognizer.spec.beam_size
    yield f"LanSER as on a GPU: full windows, beam {beams}", lambda clips: texts(full, clips)
    yield f"LanSER as on a CPU: windows by length, beam {beams}", lambda clips: texts(by_length, clips)
    yield f"LanSER as on a CPU, --short-windows, beam {beams}", lambda clips: texts(short, clips)
    batched = BatchedInferencePipeline(recognizer.model)
    folder = str(Path(settings.folder, FOR_TRANSFORMERS, model))
    for beam_size, batch_size in settings.sizes.peers:
        name = f"beam {beam_size}, batch {batch_size}"
        yield (
            f"faster-whisper batched, {name}",
            batched_pipeline(batched, batch_size, language=LANGUAGE, beam_size=beam_size),
        )
        yield f"transformers, {name}", transformers_pipeline(folder, settings.device, batch_size, beam_size, LANGUAGE)


def texts(recognizer: WhisperRecognizer, clips: list[np.ndarray]) -> list[str]:
    return [hypothesis.text for hypothesis in recognizer.recognize([Clip(clip, LANGUAGE) for clip in clips])]


def read_speech() -> np.ndarray:
    """The recordings of examples/audio, one after the other: float32 (samples,)."""
    waves = []
    for path in sorted(path for voice in VOICES for path in (EXAMPLES / voice).iterdir()):
        with path.open("rb") as stream:
            waves.append(read_all(stream))
    return np.concatenate(waves)


def cut(speech: np.ndarray, seconds: float, count: int) -> list[np.ndarray]:
    """``count`` clips of ``seconds`` that follow each other, from the beginning again where the speech ends.

    A prime number of samples between clips makes those of the second round differ from the first.
    """
    size = int(seconds * SAMPLE_RATE)
    starts = (np.arange(count) * (size + 797)) % (len(speech) - size)
    return [speech[start : start + size] for start in starts]


if __name__ == "__main__":
    run_part("recognition", measure)
