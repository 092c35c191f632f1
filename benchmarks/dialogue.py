"""A labelled dialogue corpus as a CSV for ``lanser agreement``: half of it neutral, or with equally many of each label.

    python benchmarks/dialogue.py dialogue_dev.jsonl.gz half.csv
    lanser agreement --csv half.csv --taxonomy ekman
    python benchmarks/dialogue.py dialogue_dev.jsonl.gz balanced.csv --per-label 100
    lanser agreement --csv balanced.csv --taxonomy ekman --context 1

The input has a JSON object per line with ``text``, ``dialogue``, ``turn`` and ``label``, labelled as DailyDialog is (Li
et al. 2017, arXiv:1710.03957): no_emotion, happiness, surprise, anger, sadness, disgust, fear. Every utterance with an
emotion keeps its label, and as many of those without, evenly spread over the file; with ``--per-label N`` at most N of
each label do. The others lose it: they do not count, but are context for ``lanser agreement --context``.
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
    parser.add_argument("--per-label", type=int, metavar="N")
    args = parser.parse_args()
    with gzip.open(args.dialogue, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    labels = [EKMAN.get(row["label"], row["label"]) for row in rows]
    emotional = sum(label != "neutral" for label in labels)
    labelled: set[int] = set()
    for name in set(labels):
        indices = [index for index, label in enumerate(labels) if label == name]
        limit = args.per_label or (emotional if name == "neutral" else len(indices))
        count = min(limit, len(indices))
        labelled.update(indices[len(indices) * number // count] for number in range(count))
    with args.csv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label", "dialogue", "turn"))
        writer.writerows(
            (row["text"].strip(), label if index in labelled else "", row["dialogue"], row["turn"])
            for index, (row, label) in enumerate(zip(rows, labels, strict=True))
        )
    print(f"{len(labelled)} of {len(rows)} utterances keep their labels")


if __name__ == "__main__":
    main()
