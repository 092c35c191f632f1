#!/usr/bin/env python3
"""How many utterances of each label a selection leaves, rule by rule.

    python benchmarks/selection.py out/demo --taxonomy ekman --max-repeats 1 --keep-top 0.5 --balance 3

Reads the labels that ``lanser build``, ``label`` or ``relabel`` has stored in the output directory, with the options of
labels and shards that those commands have; runs no model and writes nothing. The first column counts the utterances
that the thresholds and the flags leave.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import numpy as np

from lanser_ops.common.errors import InputError
from lanser_ops.labelling.options import add_label_options, label_spec
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.select import RULES, read_candidates, select
from pipelines.options import add_shard_options, shard_spec
from schemas.units import Unit

PART = re.compile(r"part-(\d+)-of-(\d+)\.parquet")


def labelled_units(out: OutputDir, taxonomy: str) -> Iterator[Unit]:
    """The units that have labels; their parts of the names say all that reading them needs."""
    for name in sorted(out.names(f"labels/{taxonomy}")):
        part = PART.fullmatch(name.rpartition("/")[2])
        if part:
            yield Unit(int(part[1]), int(part[2]), split="", sources=0, bytes=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    add_label_options(parser)
    add_shard_options(parser)
    args = parser.parse_args()
    out, spec, shards = OutputDir(args.output), label_spec(args), shard_spec(args)
    units = list(labelled_units(out, spec.taxonomy.name))
    if not units:
        raise InputError(f"{args.output}: no labels for {spec.taxonomy.name} there; run lanser label first")
    candidates = np.concatenate([read_candidates(out, unit, spec, shards) for unit in units])
    rules = select(candidates, shards)
    names = [label.name for label in spec.taxonomy.labels]
    columns = {"candidates": np.bincount(candidates["label"], minlength=len(names))}
    for index, rule in enumerate(RULES):
        value = getattr(shards, rule.option)
        if value is not None:
            stays = candidates["label"][rules > index]
            columns[f"--{rule.option.replace('_', '-')} {value:g}"] = np.bincount(stays, minlength=len(names))
    print(f"| label | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for label, name in enumerate(names):
        cells = (f"{counts[label]} ({counts[label] / max(1, counts.sum()):.1%})" for counts in columns.values())
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| all | {' | '.join(str(counts.sum()) for counts in columns.values())} |")


if __name__ == "__main__":
    main()
