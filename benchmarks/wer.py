#!/usr/bin/env python3
"""Word error rate of an output directory's transcripts against known texts.

    python benchmarks/wer.py out/ravdess --ravdess
    python benchmarks/wer.py out/read --references transcripts.tsv

The names of RAVDESS files state their sentence (Livingstone & Russo 2018, PLOS ONE 13(5)). A reference file has lines
of ``name<TAB>text``, where the name is that of the audio file without its suffix. Texts are normalised with Whisper's
English normaliser. All words of a rejected utterance count as deleted.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import jiwer
import pyarrow.parquet as pq
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

RAVDESS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--ravdess", action="store_true")
    parser.add_argument("--references", type=Path)
    parser.add_argument("--worst", type=int, default=0, help="how many of the worst transcripts to print")
    args = parser.parse_args()
    normalise = EnglishTextNormalizer({})
    texts: dict[str, list[tuple[float, str]]] = {}
    for part in ("transcripts", "rejects"):
        for row in pq.read_table(args.output / part).to_pylist():
            texts.setdefault(Path(row["source"]).stem, []).append((row["start_s"] or 0.0, row.get("text", "")))
    references = None
    if args.references:
        with args.references.open(newline="", encoding="utf-8") as stream:
            references = dict(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = []
    for name, pieces in sorted(texts.items()):
        reference = references.get(name) if references else RAVDESS[name.split("-")[4]]
        if reference is not None:
            rows.append((normalise(reference), normalise(" ".join(text for _, text in sorted(pieces))), name))
    rate = jiwer.wer([row[0] for row in rows], [row[1] for row in rows])
    exact = sum(reference == text for reference, text, _ in rows)
    print(f"{len(rows)} recordings, WER {100 * rate:.2f} %, {exact} without an error")
    for reference, text, name in sorted(rows, key=lambda row: -jiwer.wer(row[0], row[1]))[: args.worst]:
        print(f"  {name}: {text!r} for {reference!r}")


if __name__ == "__main__":
    main()
