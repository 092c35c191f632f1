"""A labelled dialogue corpus as a CSV for ``lanser agreement``, half of it neutral.

    python benchmarks/dialogue.py dialogue_dev.jsonl.gz half.csv
    lanser agreement --csv half.csv --taxonomy ekman

The input has a JSON object per line with ``text`` and ``label``, labelled as DailyDialog is (Li et al. 2017,
arXiv:1710.03957): no_emotion, happiness, surprise, anger, sadness, disgust, fear. Every utterance with an emotion is
taken, and as many of those without, evenly spread over the file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path

EKMAN = {"no_emotion": "neutral", "happiness": "joy"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialogue", type=Path)
    parser.add_argument("csv", type=Path)
    args = parser.parse_args()
    with gzip.open(args.dialogue, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    rows = [(row["text"].strip(), EKMAN.get(row["label"], row["label"])) for row in rows]
    emotional = [row for row in rows if row[1] != "neutral"]
    neutral = [row for row in rows if row[1] == "neutral"]
    neutral = [neutral[len(neutral) * number // len(emotional)] for number in range(len(emotional))]
    with args.csv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([("text", "label"), *emotional, *neutral])
    print(f"{len(emotional)} utterances with an emotion, as many without")


if __name__ == "__main__":
    main()
