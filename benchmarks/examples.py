"""Labels that the defaults give to examples/audio, compared with those that the sentences were written for.

    python benchmarks/examples.py out/demo

The shards are built in that folder, which may be that of ``make demo``: what is complete is not built again. Options of
``lanser build`` may be appended. `examples/sentences.tsv` has the emotion of every sentence in GoEmotions' words; they
count in Ekman's groups (`examples/goemotions-ekman.yaml`). A sentence is found by its file and, in the recording of a
whole talk, by the most similar text. Sentences of an emotion that belongs to no group (boredom, loneliness) do not
count.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import io
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq

from lanser_ops.commands.agreement import read_map
from pipelines import build
from schemas.metrics import confusion, scores
from schemas.taxonomy import load_taxonomy

EXAMPLES = Path(__file__).parents[1] / "examples"
TAXONOMY = "ekman"


def intended(groups: dict[str, str]) -> dict[str, dict[str, str]]:
    """The label that every sentence was written for, by file and text."""
    sentences: dict[str, dict[str, str]] = {}
    with (EXAMPLES / "sentences.tsv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            sentences.setdefault(row["file"], {})[row["text"]] = groups.get(row["emotion_intended"], "")
    return sentences


def compared(output: str, groups: dict[str, str]) -> list[tuple[str, str]]:
    """(intended, given) label of every utterance whose sentence is known and belongs to a group."""
    sentences = intended(groups)
    given = {row["key"]: row["label"] for row in pq.read_table(f"{output}/labels/{TAXONOMY}").to_pylist()}
    pairs = []
    for row in pq.read_table(f"{output}/transcripts").to_pylist():
        of_file = sentences.get(row["source"], {})
        nearest = difflib.get_close_matches(row["text"], of_file, n=1) if len(of_file) > 1 else list(of_file)
        pairs += [(of_file[text], given[row["key"]]) for text in nearest if of_file[text]]
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="DIR")
    args, options = parser.parse_known_args()
    command = ["--input", "examples/audio", "--output", args.output, "--taxonomy", TAXONOMY, *options]
    with redirect_stdout(io.StringIO()):
        build.run(command)
    pairs = compared(args.output, read_map(str(EXAMPLES / "goemotions-ekman.yaml")))
    names = [label.name for label in load_taxonomy(TAXONOMY).labels]
    matrix = confusion([names.index(pair[0]) for pair in pairs], [names.index(pair[1]) for pair in pairs], len(names))
    print(f"| intended | {' | '.join(names)} | right |\n|---|{'---|' * (len(names) + 1)}")
    for name, row, right in zip(names, matrix, matrix.diagonal(), strict=True):
        counts = " | ".join(str(count) if count else "" for count in row)
        print(f"| {name} | {counts} | {right} of {row.sum()} |")
    figures = scores(matrix)
    print(f"\n{len(pairs)} sentences: accuracy {figures['wa']:.1%}, UA {figures['ua']:.1%}, ", end="")
    print(f"macro-F1 {figures['macro_f1']:.1%}")


if __name__ == "__main__":
    main()
