#!/usr/bin/env python3
"""What a window shorter than 8 s needs: time, errors and clips that are decoded again, of several ways.

    python benchmarks/short_clips.py ../shared/data/ravdess --ravdess --clips 200 --trim
    python benchmarks/short_clips.py ../shared/data/transcribed --references ../shared/data/transcribed/transcripts.tsv

``--trim`` cuts the silence around the speech off: RAVDESS's clips of 3 to 5 s become clips of 1 to 3 s. All ways
recognise the same clips on one thread, in pools of a build's size; seconds are those of the processor, so that other
work on the machine counts less. Word error rates are computed as in `benchmarks/wer.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import jiwer
import numpy as np
from asr import Sample, add_clip_options, as_clips, read_clips, slices
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from lanser_ops.asr import whisper, whisper_recognizer, whisper_windows
from lanser_ops.asr.base import Clip
from lanser_ops.asr.whisper_quality import WhisperOutput
from lanser_ops.asr.whisper_recognizer import POOL_SECONDS, WhisperRecognizer, load_recognizer
from lanser_ops.asr.whisper_windows import FULL_WINDOW, Window
from lanser_ops.audio.decode import SAMPLE_RATE
from schemas.specs import TranscribeSpec

LANGUAGE = "en"
# Of the loudest 25 ms; what is quieter, before and after the speech, is cut off, but for 0.1 s.
QUIET = 0.03


@dataclass(frozen=True)
class Way:
    """Options, constants of `whisper_windows`, and the log-probability under which greedy text is decoded by beams.

    ``greedy_above`` is None where every clip is decoded by beams at once.
    """

    name: str
    options: dict[str, bool] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    greedy_above: float | None = None


SHORT = {"short_windows": True}
WAYS = [
    Way("LanSER"),
    Way("LanSER --short-windows", SHORT),
    Way("the same windows without states of silence", {}, {"MIN_WINDOW_S": 3, "MARGIN_S": 1}),
    Way("--short-windows, greedy, and beams below -0.6", SHORT, greedy_above=-0.6),
    Way("--short-windows, greedy", SHORT, greedy_above=-np.inf),
    Way("LanSER --exact", {"exact": True}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_clip_options(parser)
    parser.add_argument("--trim", action="store_true", help="cut off the silence before and after the speech")
    parser.add_argument("--at-most", type=float, metavar="S", default=30.0, help="leave longer clips out")
    parser.add_argument("--ways", type=int, nargs="+", default=range(len(WAYS)), help="by number, from 0; default: all")
    args = parser.parse_args()
    clips = [replace(clip, samples=trimmed(clip.samples)) if args.trim else clip for clip in read_clips(args)]
    clips = [clip for clip in clips if clip.seconds <= args.at_most]
    audio = sum(clip.seconds for clip in clips)
    print(f"{len(clips)} clips, {audio / len(clips):.2f} s on average; tiny.en, int8, one thread\n")
    print("| way | seconds | audio s/s | WER % | decoded again |\n|---|---|---|---|---|")
    normalise = EnglishTextNormalizer({})
    references = [normalise(clip.text) for clip in clips]
    loaded = load_recognizer(TranscribeSpec(whisper.resolve(args.model), short_windows=True), "cpu", threads=1)
    recognizer = replace(loaded, spec=replace(loaded.spec, short_windows=False))
    for number in args.ways:
        seconds, texts, again = recognised(recognizer, WAYS[number], clips)
        errors = 100 * jiwer.wer(references, [normalise(text) for text in texts])
        cells = (WAYS[number].name, f"{seconds:.1f}", f"{audio / seconds:.1f}", f"{errors:.2f}", again)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def trimmed(samples: np.ndarray) -> np.ndarray:
    """The speech in ``samples``, by its level."""
    frame, margin = SAMPLE_RATE // 40, SAMPLE_RATE // 10
    level = np.sqrt(np.convolve(samples**2, np.ones(frame) / frame, "same"))
    loud = np.flatnonzero(level > QUIET * level.max())
    return samples[max(0, loud[0] - margin) : loud[-1] + margin]


def recognised(recognizer: WhisperRecognizer, way: Way, clips: Sequence[Sample]) -> tuple[float, list[str], int]:
    """Seconds of the processor, texts, and how many clips were decoded again in the full window or by beams."""
    again = 0
    decode = whisper_recognizer._decode_batch

    def counted(current: WhisperRecognizer, batch: Sequence[Clip], window: Window) -> list[WhisperOutput]:
        nonlocal again
        if window == FULL_WINDOW:
            again += 0 if current.spec.exact else len(batch)
            return decode(current, batch, window)
        if way.greedy_above is None:
            return decode(current, batch, window)
        outputs = decode(replace(current, spec=replace(current.spec, beam_size=1)), batch, window)
        unsure = [index for index, output in enumerate(outputs) if output.avg_logprob < way.greedy_above]
        again += len(unsure)
        if unsure:
            by_beams = decode(current, [batch[index] for index in unsure], window)
            outputs = [by_beams[unsure.index(i)] if i in unsure else output for i, output in enumerate(outputs)]
        return outputs

    with ExitStack() as stack:
        for name, value in way.constants.items():
            stack.enter_context(patch.object(whisper_windows, name, value))
        stack.enter_context(patch.object(whisper_recognizer, "_decode_batch", counted))
        current = replace(recognizer, spec=replace(recognizer.spec, **way.options))
        start = time.process_time()
        texts = list(_texts(current, clips))
        return time.process_time() - start, texts, again


def _texts(recognizer: WhisperRecognizer, clips: Sequence[Sample]) -> Iterator[str]:
    for part in slices(list(clips), POOL_SECONDS["cpu"]):
        for hypothesis in recognizer.recognize(as_clips([clip.samples for clip in part], LANGUAGE)):
            yield hypothesis.text


if __name__ == "__main__":
    main()
