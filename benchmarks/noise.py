#!/usr/bin/env python3
"""What recognition makes of sound without speech: noise, tones, music-like sound and silence.

    python benchmarks/noise.py --clips 1000
    python benchmarks/noise.py --clips 1000 --seed 1 --show 20

The sounds are generated from the seed, equally many of each kind, 1 to 12 s long and of any loudness, and are processed
like any corpus: files, plan, recognition. A sound that gets a transcript without a flag would become a sample; with a
flag it would be left out of the shards.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from lanser_ops.asr.transcribe import transcribe_rows
from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.backends import ASR, BUNDLED, backend_of, resolve
from lanser_ops.corpus.plan import make_plan
from lanser_ops.corpus.sources import read_sources
from schemas.records import Reject, SourceRow, Transcript, from_table
from schemas.specs import CutSpec, PlanSpec, TranscribeSpec

Random = np.random.Generator
Sound = Callable[[np.ndarray, Random], np.ndarray]  # of times in seconds, from 0


def coloured(slope: float, low: float = 0.0, high: float = 8000.0) -> Sound:
    """Noise whose power falls with frequency to ``slope``, between two frequencies in Hz."""

    def sound(time: np.ndarray, random: Random) -> np.ndarray:
        spectrum = np.fft.rfft(random.normal(size=len(time)))
        hertz = np.fft.rfftfreq(len(time), 1 / SAMPLE_RATE)
        shape = np.where((hertz >= low) & (hertz <= high), np.maximum(hertz, 20.0) ** (-slope / 2), 0.0)
        return np.fft.irfft(spectrum * shape, len(time))

    return sound


def swelling(time: np.ndarray, random: Random) -> np.ndarray:
    """Noise with the spectrum and rhythm of speech: 2 to 6 swells per second."""
    swell = np.clip(np.sin(2 * np.pi * random.uniform(2, 6) * time + coloured(2)(time, random)), 0, None)
    return coloured(1.5, 100, 4000)(time, random) * swell


def tone(time: np.ndarray, random: Random) -> np.ndarray:
    return np.sin(2 * np.pi * random.uniform(60, 4000) * time)


def siren(time: np.ndarray, random: Random) -> np.ndarray:
    middle, span, rate = random.uniform(300, 2000), random.uniform(0.05, 0.5), random.uniform(0.2, 3)
    return np.sin(2 * np.pi * np.cumsum(middle * (1 + span * np.sin(2 * np.pi * rate * time))) / SAMPLE_RATE)


def buzzer(time: np.ndarray, random: Random) -> np.ndarray:
    """A harmonic tone with the pitch of a voice, switched on and off."""
    pitch, rate = random.uniform(90, 350), random.uniform(1, 6)
    return harmonics(pitch * time, 10, 1.0) * (np.sin(2 * np.pi * rate * time) > random.uniform(-0.8, 0.5))


def hum(time: np.ndarray, random: Random) -> np.ndarray:
    """An engine or a fan: many harmonics of wavering loudness, and noise."""
    waver = 1 + 0.3 * np.sin(2 * np.pi * random.uniform(0.3, 8) * time)
    return harmonics(random.uniform(40, 130) * time, 20, 0.7) * waver + 20 * coloured(1)(time, random)


def clicks(time: np.ndarray, random: Random) -> np.ndarray:
    """Knocks, steps, keys: short decaying bursts at irregular times."""
    sound = np.zeros(len(time))
    for start in random.uniform(0, time[-1], int(time[-1] * random.uniform(1, 8)) + 1):
        after = np.clip(time - start, 0, None)
        burst = np.sin(2 * np.pi * random.uniform(200, 2500) * after) + random.normal(size=len(time))
        sound += burst * np.exp(-after * random.uniform(20, 120)) * (time >= start)
    return sound


def notes(time: np.ndarray, random: Random) -> np.ndarray:
    """A melody of plucked notes."""
    return melody(time, random, voices=1, fall=3.0)


def chords(time: np.ndarray, random: Random) -> np.ndarray:
    """Chords over a beat of noise."""
    beat = np.exp(-((time * random.uniform(1.5, 3)) % 1) * 12) * random.normal(size=len(time))
    return melody(time, random, voices=3, fall=1.5) + random.uniform(0, 1) * beat


def strings(time: np.ndarray, random: Random) -> np.ndarray:
    """Held notes with vibrato, two at once."""
    return melody(time, random, voices=2, fall=0.2, vibrato=0.01)


def melody(time: np.ndarray, random: Random, voices: int, fall: float, vibrato: float = 0.0) -> np.ndarray:
    sound = np.zeros(len(time))
    length = random.uniform(0.2, 0.8)
    scale = 110 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19, 21, 23, 24]) / 12)
    for number in range(int(time[-1] / length) + 1):
        note = (time >= number * length) & (time < (number + 1) * length)
        since = time[note] - number * length
        shake = 1 + vibrato * np.sin(2 * np.pi * 5.5 * time[note])
        shape = np.exp(-fall * since) * np.clip(since / 0.02, 0, 1) * np.clip((length - since) / 0.02, 0, 1)
        for pitch in random.choice(scale, voices):
            sound[note] += harmonics(pitch * np.cumsum(shake) / SAMPLE_RATE, 6, 1.2) * shape
    return sound


def harmonics(cycles: np.ndarray, count: int, slope: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * number * cycles) / number**slope for number in range(1, count + 1))


def silence(time: np.ndarray, random: Random) -> np.ndarray:
    return np.zeros(len(time))


def quiet_room(time: np.ndarray, random: Random) -> np.ndarray:
    return coloured(1)(time, random) + 0.5 * np.std(coloured(1)(time, random)) * np.sin(2 * np.pi * 50 * time)


KINDS: dict[str, Sound] = {
    "silence": silence,
    "quiet room": quiet_room,
    "white noise": coloured(0),
    "pink noise": coloured(1),
    "brown noise": coloured(2),
    "telephone noise": coloured(0, 300, 3400),
    "swelling noise": swelling,
    "tone": tone,
    "siren": siren,
    "buzzer": buzzer,
    "hum": hum,
    "clicks": clicks,
    "notes": notes,
    "chords": chords,
    "strings": strings,
}


def make_clip(index: int, seed: int) -> tuple[str, np.ndarray]:
    """(kind, float samples at 16 kHz) of the clip with that number."""
    random = np.random.default_rng([seed, index])
    kind = list(KINDS)[index % len(KINDS)]
    time = np.arange(int(random.uniform(1, 12) * SAMPLE_RATE)) / SAMPLE_RATE
    sound = KINDS[kind](time, random)
    loudness = 10 ** random.uniform(-3, -2.3) if kind == "quiet room" else 10 ** random.uniform(-1.7, -0.05)
    return kind, sound / max(np.max(np.abs(sound)), 1e-9) * loudness


def outcome(row: Transcript | Reject) -> str:
    if isinstance(row, Reject):
        return f"reject {row.reason}"
    return f"flagged {row.flags[0]}" if row.flags else "sample"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=BUNDLED, help="as --asr-model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=10, help="how many of the samples to print with their text")
    args = parser.parse_args()
    spec = TranscribeSpec(resolve(ASR, args.model))
    recognizer = backend_of(ASR, args.model).load(spec, "cpu", args.threads)
    kinds = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(args.clips):
            kind, samples = make_clip(index, args.seed)
            kinds[f"{index:05d}.wav"] = kind
            soundfile.write(Path(folder, f"{index:05d}.wav"), samples, SAMPLE_RATE, subtype="PCM_16")
        sources = read_sources([folder], "/nowhere")
        plan, _ = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
        rows = from_table(plan, SourceRow)
        transcripts, rejects = transcribe_rows(rows, sources.roots, recognizer, CutSpec())
    results = [*transcripts, *rejects]
    counts = Counter((kinds[row.source], outcome(row)) for row in results)
    columns = sorted({name for _, name in counts})
    print(f"{'':<18}" + "".join(f"{name:>22}" for name in columns))
    for kind in KINDS:
        print(f"{kind:<18}" + "".join(f"{counts[kind, name]:>22}" for name in columns))
    samples = [row for row in transcripts if not row.flags]
    rate = 100 * len(samples) / args.clips
    print(f"{args.clips} clips: {len(samples)} would become samples, {rate:.2f} %; {len(transcripts)} got a transcript")
    for row in samples[: args.show]:
        print(f"  {kinds[row.source]}, no-speech {row.no_speech_prob}, logprob {row.avg_logprob:.2f}: {row.text!r}")


if __name__ == "__main__":
    main()
