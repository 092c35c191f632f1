#!/usr/bin/env python3
"""Sound without speech, as a folder of WAV files: noise, bytes read as sound, tones, music-like sound, crowds, silence.

    python benchmarks/sounds.py --output /tmp/sounds --clips 1000
    python benchmarks/sounds.py --output /tmp/bytes --clips 300 --seed 1 --kinds file_bytes --seconds 0.6 3

Equally many of each kind, each in a folder of its name, generated from the seed: from 0.2 to 30 s (evenly by
logarithm), at 8, 11.025, 16 and 44.1 kHz, with peaks from -40 to 0 dBFS. Bytes are written as 8-bit PCM at 11.025 kHz
and as loud as they are. The voices of crowds are those of examples/audio.
"""

from __future__ import annotations

import argparse
import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lanser_ops.audio.decode import SAMPLE_RATE, read_all

Random = np.random.Generator
Sound = Callable[[np.ndarray, Random], np.ndarray]  # of evenly spaced times in seconds, from 0
REPOSITORY = Path(__file__).parents[1]
RATES = (8_000, 11_025, 16_000, 44_100)
BYTES_RATE = 11_025


def coloured(slope: float, low: float = 0.0, high: float = np.inf) -> Sound:
    """Noise whose power falls with frequency to ``slope``, between two frequencies in Hz."""

    def sound(time: np.ndarray, random: Random) -> np.ndarray:
        spectrum = np.fft.rfft(random.normal(size=len(time)))
        hertz = np.fft.rfftfreq(len(time), time[1])
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
    return np.sin(2 * np.pi * np.cumsum(middle * (1 + span * np.sin(2 * np.pi * rate * time))) * time[1])


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
            sound[note] += harmonics(pitch * np.cumsum(shake) * time[1], 6, 1.2) * shape
    return sound


def harmonics(cycles: np.ndarray, count: int, slope: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * number * cycles) / number**slope for number in range(1, count + 1))


def silence(time: np.ndarray, random: Random) -> np.ndarray:
    return np.zeros(len(time))


def quiet_room(time: np.ndarray, random: Random) -> np.ndarray:
    return coloured(1)(time, random) + 0.5 * np.std(coloured(1)(time, random)) * np.sin(2 * np.pi * 50 * time)


VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))  # formants in Hz


def vowels(time: np.ndarray, random: Random) -> np.ndarray:
    """Held vowels: pulses of a wavering pitch through three formants (Peterson and Barney 1952)."""
    pitch = random.uniform(90, 300) * (1 + 0.03 * np.sin(2 * np.pi * random.uniform(1, 6) * time))
    cycles = np.cumsum(pitch) * time[1]
    pulses = np.diff(np.floor(cycles), prepend=0.0)
    hertz = np.fft.rfftfreq(len(time), time[1])
    sound = np.zeros(len(time))
    length = random.uniform(0.3, 3.0)
    for number in range(int(time[-1] / length) + 1):
        formants = VOWELS[random.integers(len(VOWELS))]
        gains = sum(1 / (1 + ((hertz - centre) / 60) ** 2) / (1 + i) for i, centre in enumerate(formants))
        part = (time >= number * length) & (time < (number + 1) * length)
        sound[part] = np.fft.irfft(np.fft.rfft(pulses) * gains, len(time))[part]
    return sound


@cache
def voices() -> tuple[np.ndarray, ...]:
    """The speech of examples/audio, float32 at 16 kHz."""
    names = [path for path in sorted(REPOSITORY.glob("examples/audio/*/*.*")) if path.parent.name != "broken"]
    return tuple(read_all(io.BytesIO(path.read_bytes())) for path in names)


def crowd(time: np.ndarray, random: Random) -> np.ndarray:
    """8 to 40 voices at once."""
    count = int((time[-1] + 1) * SAMPLE_RATE)
    sound = np.zeros(count)
    for number in random.choice(len(voices()), random.integers(8, 41)):
        voice = voices()[number]
        spoken = np.resize(np.roll(voice, random.integers(len(voice))), count)
        sound += spoken / np.std(voice) * random.uniform(0.5, 1)
    return soxr.resample(sound, SAMPLE_RATE, 1 / time[1])[: len(time)]


def bytes_of(content: bytes) -> Sound:
    """A stretch of ``content`` as 8-bit PCM."""

    def sound(time: np.ndarray, random: Random) -> np.ndarray:
        first = random.integers(max(1, len(content) - len(time)))
        return np.resize(np.frombuffer(content, np.uint8)[first:], len(time)) / 128.0 - 1.0

    return sound


def random_bytes(time: np.ndarray, random: Random) -> np.ndarray:
    return bytes_of(random.bytes(len(time)))(time, random)


@cache
def contents() -> tuple[bytes, ...]:
    """Files of the repository and of the packages: text, weights, machine code."""
    import _soundfile_data

    library = Path(_soundfile_data.__file__).with_name("libsndfile_x86_64.so")
    texts = [path.read_bytes() for path in sorted(REPOSITORY.glob("lanser_ops/**/*.py"))]
    with (REPOSITORY / "lanser_ops/assets/nli/model.safetensors").open("rb") as stream:
        weights = stream.read(8_000_000)
    return b"".join(texts), weights, library.read_bytes()


def text_bytes(time: np.ndarray, random: Random) -> np.ndarray:
    return bytes_of(contents()[0])(time, random)


def weight_bytes(time: np.ndarray, random: Random) -> np.ndarray:
    return bytes_of(contents()[1])(time, random)


def machine_code(time: np.ndarray, random: Random) -> np.ndarray:
    return bytes_of(contents()[2])(time, random)


def compressed_bytes(time: np.ndarray, random: Random) -> np.ndarray:
    """Text and machine code, compressed in one of three ways."""
    compress = (zlib.compress, bz2.compress, lzma.compress)[random.integers(3)]
    return bytes_of(compress(contents()[random.integers(3)][: 30 * BYTES_RATE * 8]))(time, random)


def run_lengths(time: np.ndarray, random: Random) -> np.ndarray:
    """Pictures packed as pairs of a run's length and its colour."""
    bands = np.cumsum(random.normal(size=(len(time), 2)), axis=0)
    lengths = 1 + np.abs(bands[:, 0] * random.uniform(0.1, 3)) % random.integers(4, 64)
    colours = (bands[:, 1] * random.uniform(0.5, 5) + random.integers(4, size=len(time)) * 16) % 256
    pairs = np.stack([lengths, colours], axis=1).astype(np.uint8)
    return bytes_of(pairs.tobytes())(time, random)


def records(time: np.ndarray, random: Random) -> np.ndarray:
    """A table: counters, addresses and numbers in rows of a few bytes."""
    count = len(time) // 12 + 1
    columns = [("counter", "<u4"), ("size", "<u2"), ("kind", "u1"), ("flag", "u1"), ("value", "<f4")]
    table = np.zeros(count, columns)
    table["counter"] = np.cumsum(random.integers(1, 5000, count))
    table["size"], table["kind"] = random.integers(5000, size=count), random.integers(12, size=count)
    table["value"] = random.normal(size=count)
    return bytes_of(table.tobytes())(time, random)


@cache
def files_below(folder: str) -> tuple[Path, ...]:
    return tuple(path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.stat().st_size > 100_000)


def file_bytes(folder: str) -> Sound:
    """A stretch of any file below ``folder``."""

    def sound(time: np.ndarray, random: Random) -> np.ndarray:
        path = files_below(folder)[random.integers(len(files_below(folder)))]
        with path.open("rb") as stream:
            stream.seek(random.integers(path.stat().st_size - 50_000))
            return bytes_of(stream.read(len(time)))(time, random)

    return sound


BYTES: dict[str, Sound] = {
    "random_bytes": random_bytes,
    "text_bytes": text_bytes,
    "weight_bytes": weight_bytes,
    "machine_code": machine_code,
    "compressed_bytes": compressed_bytes,
    "run_lengths": run_lengths,
    "records": records,
}
KINDS: dict[str, Sound] = BYTES | {
    "silence": silence,
    "quiet_room": quiet_room,
    "white_noise": coloured(0),
    "pink_noise": coloured(1),
    "brown_noise": coloured(2),
    "telephone_noise": coloured(0, 300, 3400),
    "swelling_noise": swelling,
    "tone": tone,
    "siren": siren,
    "buzzer": buzzer,
    "hum": hum,
    "clicks": clicks,
    "notes": notes,
    "chords": chords,
    "strings": strings,
    "vowels": vowels,
    "crowd": crowd,
}


def write_clip(path: Path, kind: str, sound: Sound, random: Random, seconds: tuple[float, float]) -> None:
    """Write one WAV file of a random length, rate and loudness."""
    is_bytes = kind in BYTES or sound not in KINDS.values()
    rate = BYTES_RATE if is_bytes else int(random.choice(RATES))
    length = np.exp(random.uniform(*np.log(seconds)))
    samples = sound(np.arange(int(length * rate)) / rate, random)
    if not is_bytes:
        loudness = 10 ** random.uniform(-3, -2.3) if kind == "quiet_room" else 10 ** random.uniform(-2, 0)
        samples = samples / max(np.max(np.abs(samples)), 1e-9) * loudness
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_U8" if is_bytes else "PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder to write")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=[*KINDS, "file_bytes"])
    parser.add_argument("--files", default="/usr/lib", help="where the kind file_bytes takes its bytes from")
    parser.add_argument("--seconds", nargs=2, type=float, default=(0.2, 30.0), metavar=("LEAST", "MOST"))
    args = parser.parse_args()
    for index in range(args.clips):
        kind = args.kinds[index % len(args.kinds)]
        sound = file_bytes(args.files) if kind == "file_bytes" else KINDS[kind]
        random = np.random.default_rng([args.seed, index])
        write_clip(Path(args.output, kind, f"{index:05d}.wav"), kind, sound, random, args.seconds)
    print(f"{args.output}: {args.clips} clips of {len(args.kinds)} kinds")


if __name__ == "__main__":
    main()
