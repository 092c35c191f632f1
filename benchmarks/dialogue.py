"""A labelled dialogue corpus as a CSV for ``lanser agreement``, half of it neutral.

    python benchmarks/dialogue.py dialogue_dev.jsonl.gz half.csv
    lanser agreement --csv half.csv --taxonomy ekman

The input has a JSON object per line with ``text``, ``dialogue``, ``turn`` and ``label``, labelled as DailyDialog is (Li
et al. 2017, arXiv:1710.03957): no_emotion, happiness, surprise, anger, sadness, disgust, fear. Every utterance with an
emotion keeps its label, and as many of those without, evenly spread over the file. The others lose it: they do not
count, but are context for ``lanser agreement --context``.
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
    labels = [EKMAN.get(row["label"], row["label"]) for row in rows]
    neutral = [index for index, label in enumerate(labels) if label == "neutral"]
    emotional = len(labels) - len(neutral)
    labelled = {neutral[len(neutral) * number // emotional] for number in range(emotional)}
    labels = [label if label != "neutral" or index in labelled else "" for index, label in enumerate(labels)]
    with args.csv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label", "dialogue", "turn"))
        writer.writerows(
            (row["text"].strip(), label, row["dialogue"], row["turn"]) for row, label in zip(rows, labels, strict=True)
        )
    print(f"{emotional} utterances with an emotion, as many without")


if __name__ == "__main__":
    main()
