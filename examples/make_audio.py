"""Synthesise examples/audio from sentences.tsv. Needs espeak-ng, flite and ffmpeg on the PATH.

Usage: python examples/make_audio.py [OUTPUT_FOLDER]   (default: the folder audio beside this file)

Each row of the table is one spoken utterance. Consecutive rows that name the same file are joined, each
followed by ``pause_s`` of room noise. Prints file, start and end in seconds, and text of every utterance.
The same tool versions give the same bytes.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parent
SPEECH_RATE = 22050  # Hz of the joined speech, espeak-ng's own; flite speaks at 16 kHz or 8 kHz
WORDS_PER_MINUTE = 150  # espeak-ng at speed 1.0
ESPEAK_PITCH = 50  # espeak-ng at pitch 1.0, of 0 to 99
ROOM_NOISE = 0.0005  # standard deviation, full scale 1.0
EDGE_S = 0.15  # of room noise before and after the speech of every file
TRUNCATED_SHARE = 0.45
BIT_RATES = {"libmp3lame": "48k", "libvorbis": "48k", "aac": "48k", "libopus": "24k"}
BLACK_VIDEO = "color=black:size=64x64:rate=5:duration="


def speak(row: dict[str, str]) -> np.ndarray:
    """The sentence of ``row`` as float32 samples, shape (samples,), at SPEECH_RATE."""
    engine, voice = row["voice"].split(":")
    speed, pitch = float(row["speed"]), float(row["pitch"])
    if engine == "espeak":
        command = ["espeak-ng", "-v", voice, "-s", f"{WORDS_PER_MINUTE * speed:.0f}"]
        command += ["-p", f"{ESPEAK_PITCH * pitch:.0f}", "--stdout", row["text"]]
    elif engine == "flite":
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / speed:.3f}"]
        command += ["--setf", f"f0_shift={pitch}", "-t", row["text"], "-o", "/dev/stdout"]
    else:
        raise ValueError(f"sentences.tsv, {row['file']}: unknown engine {engine!r}, use espeak or flite")
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    # Neither engine knows the length when it writes the header to a pipe; ffmpeg reads to the end.
    command = ["ffmpeg", "-v", "error", "-ignore_length", "1", "-i", "pipe:0"]
    command += ["-ac", "1", "-ar", str(SPEECH_RATE), "-f", "f32le", "pipe:1"]
    raw = subprocess.run(command, check=True, capture_output=True, input=spoken).stdout
    samples = np.frombuffer(raw, np.float32)
    # Their own silence goes, so that pauses are as long as the table says; the voices differ in level.
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return samples * (0.08 / np.sqrt(np.mean(samples**2)))


def encode(samples: np.ndarray, row: dict[str, str], path: Path) -> None:
    """Write ``samples`` at SPEECH_RATE in the format that ``row`` and the extension of ``path`` name."""
    wav = io.BytesIO()
    soundfile.write(wav, samples, SPEECH_RATE, format="WAV", subtype="FLOAT")
    command = ["ffmpeg", "-v", "error", "-y", "-i", "pipe:0"]
    if path.suffix == ".mp4":
        command += ["-f", "lavfi", "-i", f"{BLACK_VIDEO}{len(samples) / SPEECH_RATE:.1f}"]
        command += ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
    command += ["-c:a", row["encoding"], "-ar", row["sample_rate"], "-ac", row["channels"]]
    if row["encoding"] == "flac":
        command += ["-sample_fmt", "s16"]
    if row["encoding"] in BIT_RATES:
        command += ["-b:a", BIT_RATES[row["encoding"]]]
    command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", str(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, input=wav.getvalue())


def main(output: Path) -> None:
    noise = np.random.default_rng(0)

    def room(seconds: float) -> np.ndarray:
        return noise.normal(0.0, ROOM_NOISE, round(seconds * SPEECH_RATE)).astype(np.float32)

    with open(HERE / "sentences.tsv", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    for name, group in groupby(rows, key=lambda row: row["file"]):
        spoken = list(group)
        parts = [room(EDGE_S)]
        for row in spoken:
            start_s = sum(map(len, parts)) / SPEECH_RATE
            parts.append(speak(row))
            end_s = sum(map(len, parts)) / SPEECH_RATE
            print(f"{name}\t{start_s:.2f}\t{end_s:.2f}\t{row['text']}")
            parts.append(room(float(row["pause_s"] or EDGE_S)))
        encode(np.concatenate(parts), spoken[0], output / name)

    broken = output / "broken"
    broken.mkdir(exist_ok=True)
    soundfile.write(broken / "silent.wav", np.zeros(2 * 16000, np.int16), 16000)
    whole = (output / next(row["file"] for row in rows if row["encoding"] == "flac")).read_bytes()
    (broken / "truncated.flac").write_bytes(whole[: int(len(whole) * TRUNCATED_SHARE)])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "audio")
