#!/usr/bin/env python3
"""How many labels are right with and without --agree, on RAVDESS, whose file names say the emotion.

    python -m benchmarks.second_opinion out/ravdess --actors 17 18 19 20 21 22 23 24

The argument is the output of ``lanser build --speech-model``, without ``--agree``. The speech model must not have been
trained on the actors. Every emotion is compared with the label that a class of that name stands for; one that the
taxonomy lacks (calm, in Ekman's) is never right.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanser_ops.speech_labelling.classes import class_labels, voice_label
from training.corpora.acted import RAVDESS, RAVDESS_LABELS


def samples_of(output: Path, taxonomy: str) -> Iterator[dict[str, Any]]:
    """The JSON of all samples."""
    for path in sorted((output / "shards" / taxonomy).glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".json") and (content := archive.extractfile(member)):
                    yield json.load(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the output of a build of RAVDESS with a speech model")
    parser.add_argument("--taxonomy", default="ekman")
    parser.add_argument("--actors", type=int, nargs="+", default=range(1, 25), help="whose clips count; default: all")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    right: Counter[str] = Counter()
    acted: dict[str, Counter[str]] = {}
    for sample in samples_of(args.output, args.taxonomy):
        match = RAVDESS.search(re.sub(r"\.\w+$", "", sample["source"]))
        if match is None or int(match["group"]) not in args.actors:
            continue
        labels = tuple(sample["labels"])
        emotion = RAVDESS_LABELS[match["label"]]
        truth = class_labels((emotion,), labels).get(emotion)
        voice = voice_label(sample["speech_labels"], sample["speech_scores"], labels)
        opinions = {"text": sample["label"], "voice": voice and voice[0]}
        if opinions["text"] == opinions["voice"]:
            opinions["text and voice agree"] = sample["label"]
            acted.setdefault(sample["label"], Counter())[emotion] += 1
        for name, label in opinions.items():
            counts[name] += 1
            right[name] += label is not None and label == truth
    print("| label of | utterances | right |\n|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count} | {right[name] / count:.1%} |")
    print("\n| label that text and voice share | utterances | emotions that were acted |\n|---|---|---|")
    for label, emotions in sorted(acted.items()):
        listed = ", ".join(f"{emotion} {count}" for emotion, count in emotions.most_common())
        print(f"| {label} | {emotions.total()} | {listed} |")


if __name__ == "__main__":
    main()
