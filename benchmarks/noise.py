#!/usr/bin/env python3
"""What is measured in the utterances of a folder that could tell speech from noise, one Parquet row per utterance.

    python benchmarks/noise.py FOLDER --output measures.parquet
    python benchmarks/noise.py /data/game --clips 1000 --seed 0 --minutes 5 --output game.parquet

The folder is read and cut as a build reads it. What the detector leaves over is recognised, whatever the rules would
make of it, so that rules can be compared afterwards on the same measures: benchmarks/noise_rules.py does. A folder of
noise comes from benchmarks/sounds.py. With ``--minutes`` the program stops early; the same command continues.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from faster_whisper.vad import get_vad_model

from lanser_ops.asr.base import Clip, Hypothesis, Recognizer
from lanser_ops.asr.quality import MIN_SPEECH_PROBABILITY, SURE_SPEECH_PROBABILITY, level_ratio
from lanser_ops.asr.utterances import Utterance, utterances_of
from lanser_ops.audio.decode import SAMPLE_RATE, is_silent
from lanser_ops.audio.segment import WINDOW
from lanser_ops.backends import ASR, BUNDLED, backend_of, resolve
from lanser_ops.corpus.plan import make_plan
from lanser_ops.corpus.sources import read_sources
from schemas.records import SourceRow, from_table
from schemas.specs import CutSpec, PlanSpec, TranscribeSpec

POOL = 32  # files whose utterances are recognised together


@dataclass(frozen=True)
class Measures:
    """What is known of one utterance.

    ``vad_max`` and ``vad_share`` are the highest of Silero's probabilities and the share of those over a half.
    ``level_ratio`` is standard deviation over mean of the RMS of frames of 512 samples, ``flatness`` the geometric over
    the arithmetic mean of the power spectrum. ``second_text`` is what the full window gives; it costs several times the
    first decode and is left out without ``--second-decode``, where the detector is sure, and where the text is flagged.
    """

    source: str
    seconds: float
    silent: bool
    vad_max: float
    vad_share: float
    level_ratio: float
    flatness: float
    no_speech_prob: float | None
    avg_logprob: float
    compression_ratio: float | None
    flags: tuple[str, ...]
    text: str
    second_text: str | None


def measures_of(
    utterances: list[Utterance], first: Recognizer, second: Recognizer | None, sure: float
) -> Iterator[Measures]:
    probabilities = [get_vad_model()(np.pad(u.samples, (0, -len(u.samples) % WINDOW))) for u in utterances]
    clips = [Clip(u.samples, u.row.language) for u in utterances]
    detected = [i for i, values in enumerate(probabilities) if MIN_SPEECH_PROBABILITY <= values.max() < sure]
    hypotheses = dict(zip(detected, first.recognize([clips[i] for i in detected]), strict=True))
    doubted = [i for i in detected if probabilities[i].max() < SURE_SPEECH_PROBABILITY and not hypotheses[i].flags]
    second_texts = dict(zip(doubted, second.recognize([clips[i] for i in doubted]), strict=True)) if second else {}
    for i, utterance in enumerate(utterances):
        hypothesis = hypotheses.get(i, Hypothesis("", 0.0))
        yield Measures(
            source=utterance.row.source,
            seconds=len(utterance.samples) / SAMPLE_RATE,
            silent=is_silent(utterance.samples),
            vad_max=float(probabilities[i].max()),
            vad_share=float((probabilities[i] > 0.5).mean()),
            level_ratio=level_ratio(utterance.samples),
            flatness=flatness(utterance.samples),
            no_speech_prob=hypothesis.no_speech_prob,
            avg_logprob=hypothesis.avg_logprob,
            compression_ratio=hypothesis.compression_ratio,
            flags=hypothesis.flags,
            text=hypothesis.text,
            second_text=second_texts[i].text if i in second_texts else None,
        )


def flatness(samples: np.ndarray) -> float:
    frames = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2, axis=0)[1:] + 1e-12
    return float(np.exp(np.mean(np.log(power))) / np.mean(power))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--output", required=True, help="the Parquet file to write")
    parser.add_argument("--clips", type=int, help="measure a sample of this many files (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--sure", type=float, default=2.0, help="recognise nothing from this detector probability on")
    parser.add_argument("--second-decode", action="store_true", help="decode what is not sure in the full window too")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time (default: never)")
    parser.add_argument("--model", default=BUNDLED, help="as --asr-model")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    backend, spec = backend_of(ASR, args.model), TranscribeSpec(resolve(ASR, args.model))
    first = backend.load(spec, "cpu", args.threads)
    second = backend.load(replace(spec, exact=True), "cpu", args.threads) if args.second_decode else None
    sources = read_sources([args.folder], "/nowhere")
    plan, _ = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    rows = from_table(plan, SourceRow)
    if args.clips:
        chosen = np.random.default_rng(args.seed).permutation(len(rows))[: args.clips]
        rows = [rows[index] for index in sorted(chosen)]
    measured = pq.read_table(args.output).to_pylist() if Path(args.output).exists() else []
    earlier = {measures["source"] for measures in measured}
    remaining = [row for row in rows if row.source not in earlier]
    start = time.monotonic()
    while remaining and time.monotonic() - start < 60 * args.minutes:
        portion, remaining = remaining[:POOL], remaining[POOL:]
        utterances = [item for item in utterances_of(portion, sources.roots, CutSpec()) if isinstance(item, Utterance)]
        measured += [asdict(measures) for measures in measures_of(utterances, first, second, args.sure)]
    pq.write_table(pa.Table.from_pylist(measured), args.output)
    print(f"{args.output}: {len(measured)} utterances, {len(rows) - len(remaining)} of {len(rows)} files")


if __name__ == "__main__":
    main()
