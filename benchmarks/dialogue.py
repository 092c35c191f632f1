"""A labelled dialogue corpus as a CSV for ``lanser agreement``, half of it neutral.

    python benchmarks/dialogue.py dialogue_dev.jsonl.gz half.csv
    lanser agreement --csv half.csv --taxonomy ekman
    python benchmarks/dialogue.py dialogue_dev.jsonl.gz balanced.csv --per-label 100
    lanser agreement --csv balanced.csv --taxonomy ekman --context 1

The input has a JSON object per line with ``text``, ``dialogue`` and ``label``, in the order of the dialogues,
labelled as DailyDialog is (Li et al. 2017, arXiv:1710.03957): no_emotion, happiness, surprise, anger, sadness,
disgust, fear. Every utterance with an emotion keeps its label, and as many of those without, evenly spread over the
file; with ``--per-label N`` at most N of each label do. The others lose it: they do not count, but are context for
``lanser agreement --context``.
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
    turn: int
    previous: tuple[str, ...]


def read_utterances(path: Path) -> list[Utterance]:
    """All utterances of that file, with Ekman's labels."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    utterances: list[Utterance] = []
    previous: list[str] = []
    for number, row in enumerate(rows):
        text = row["text"].strip()
        if number and row["dialogue"] != rows[number - 1]["dialogue"]:
            previous = []
        label = EKMAN.get(row["label"], row["label"])
        utterances.append(Utterance(text, label, row["dialogue"], len(previous), tuple(previous)))
        previous.append(text)
    return utterances


def evenly_spread(utterances: list[Utterance], limits: dict[str, int]) -> list[Utterance]:
    """Of each label at most so many utterances as ``limits`` says, evenly spread; all of a label without a limit."""
    by_label: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_label.setdefault(utterance.label, []).append(utterance)
    chosen: list[Utterance] = []
    for label, candidates in by_label.items():
        count = min(limits.get(label, len(candidates)), len(candidates))
        chosen += [candidates[len(candidates) * number // count] for number in range(count)]
    return chosen


def half_neutral(path: Path) -> list[Utterance]:
    """The utterances of that file with an emotion, and then as many of those without."""
    utterances = read_utterances(path)
    emotional = [utterance for utterance in utterances if utterance.label != "neutral"]
    neutral = [utterance for utterance in utterances if utterance.label == "neutral"]
    return emotional + evenly_spread(neutral, {"neutral": len(emotional)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialogue", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--per-label", type=int, metavar="N")
    args = parser.parse_args()
    utterances = read_utterances(args.dialogue)
    labels = {utterance.label for utterance in utterances}
    if args.per_label:
        labelled = evenly_spread(utterances, dict.fromkeys(labels, args.per_label))
    else:
        labelled = half_neutral(args.dialogue)
    places = {(utterance.dialogue, utterance.turn) for utterance in labelled}
    with args.csv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label", "dialogue", "turn"))
        for utterance in utterances:
            label = utterance.label if (utterance.dialogue, utterance.turn) in places else ""
            writer.writerow((utterance.text, label, utterance.dialogue, utterance.turn))
    print(f"{len(places)} of {len(utterances)} utterances keep their labels")


if __name__ == "__main__":
    main()
