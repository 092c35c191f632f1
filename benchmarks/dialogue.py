"""A labelled dialogue corpus as a CSV for ``lanser agreement``, half of it neutral.

    python benchmarks/dialogue.py dialogue_dev.jsonl.gz half.csv
    lanser agreement --csv half.csv --taxonomy ekman

The input has a JSON object per line with ``text``, ``label`` and ``dialogue``, labelled as DailyDialog is (Li et al.
2017, arXiv:1710.03957): no_emotion, happiness, surprise, anger, sadness, disgust, fear. Every utterance with an emotion
is taken, and as many of those without, evenly spread over the file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

EKMAN = {"no_emotion": "neutral", "happiness": "joy"}


@dataclass(frozen=True)
class Utterance:
    """``previous`` has the utterances of the same dialogue before it, oldest first."""

    text: str
    label: str
    dialogue: int
    previous: tuple[str, ...]


def half_neutral(path: Path) -> list[Utterance]:
    """The utterances of that file with an emotion, and then as many of those without."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    utterances: list[Utterance] = []
    previous: list[str] = []
    for number, row in enumerate(rows):
        text = row["text"].strip()
        if number and row["dialogue"] != rows[number - 1]["dialogue"]:
            previous = []
        label = EKMAN.get(row["label"], row["label"])
        utterances.append(Utterance(text, label, row["dialogue"], tuple(previous)))
        previous.append(text)
    emotional = [utterance for utterance in utterances if utterance.label != "neutral"]
    neutral = [utterance for utterance in utterances if utterance.label == "neutral"]
    return emotional + [neutral[len(neutral) * number // len(emotional)] for number in range(len(emotional))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialogue", type=Path)
    parser.add_argument("csv", type=Path)
    args = parser.parse_args()
    utterances = half_neutral(args.dialogue)
    with args.csv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows((utterance.text, utterance.label) for utterance in utterances)
    print(f"{len(utterances) // 2} utterances with an emotion, as many without")


if __name__ == "__main__":
    main()
