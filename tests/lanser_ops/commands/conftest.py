"""A corpus of sentences whose emotion is known, built once for the commands that ask people for labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

SENTENCES = Path(__file__).parents[3] / "examples" / "sentences.tsv"
RATE, SENTENCE_S = 16000, 0.5


@pytest.fixture(scope="session")
def emotion_of() -> dict[str, str]:
    """What each sentence of the demo says, by its text: a label of ekman."""
    with SENTENCES.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    labels = {"joy", "sadness", "anger", "fear", "surprise", "disgust", "neutral"}
    return {row["text"]: row["emotion_intended"] for row in rows if row["emotion_intended"] in labels}


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory, lanser, emotion_of: dict[str, str]) -> Path:
    """An output of `lanser build` with these sentences as transcripts, in two units; the audio is a tone."""
    folder = tmp_path_factory.mktemp("sentences")
    tone = (0.1 * np.sin(np.arange(int(RATE * SENTENCE_S)) / 20)).astype(np.float32)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "start_s", "end_s", "text"))
        for number, text in enumerate(emotion_of):
            writer.writerow((f"{number % 4}.flac", number * SENTENCE_S, (number + 1) * SENTENCE_S, text))
    for recording in range(4):
        soundfile.write(folder / f"{recording}.flac", np.tile(tone, len(emotion_of)), RATE)
    done = lanser(
        "build", "--input", folder / "manifest.csv", "--output", folder / "out", "--taxonomy", "ekman",
        "--num-shards", 2, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"
