#!/usr/bin/env python3
"""How many utterances of each label a selection leaves, rule by rule, and how many of them people label the same.

    python benchmarks/selection.py --output out/demo --taxonomy ekman --max-repeats 1 --keep-top 0.5 --balance 3
    python benchmarks/selection.py --csv dialogue.jsonl.gz --map map.yaml --taxonomy ekman --keep-top 0.5

With ``--output``, the labels that ``lanser build``, ``label`` or ``relabel`` has stored there are read; no model runs
and nothing is written. The first column counts the utterances that flags and thresholds leave, with each label's share
of all. With ``--csv``, texts that people have labelled are scored (``lanser agreement`` describes the file and the
map), flags and thresholds do not apply, and the percentage is the share that people gave the same label.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

import numpy as np

from lanser_ops.commands.agreement import read_labelled, read_map
from lanser_ops.common.selection import CANDIDATE, RULES, select, words_hash
from lanser_ops.labelling.options import add_device_options, add_label_options, label_spec
from lanser_ops.labelling.texts import score_texts
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.select import read_candidates
from pipelines.options import add_shard_options, shard_spec
from schemas.specs import LabelSpec, ShardSpec
from schemas.units import Unit

PART = re.compile(r"part-(\d+)-of-(\d+)\.parquet$")


def stored_candidates(output: str, spec: LabelSpec, shards: ShardSpec) -> np.ndarray:
    """`CANDIDATE` (n,) of all units that have labels; the name of a part says all that reading its unit needs."""
    out = OutputDir(output)
    parts = [PART.search(name) for name in sorted(out.names(f"labels/{spec.taxonomy.name}"))]
    units = [Unit(int(part[1]), int(part[2]), split="", sources=0, bytes=0) for part in parts if part]
    if not units:
        raise SystemExit(f"--output {output}: no labels for {spec.taxonomy.name} there; run lanser label first")
    return np.concatenate([read_candidates(out, unit, spec, shards) for unit in units])


def scored_candidates(args: argparse.Namespace, spec: LabelSpec) -> tuple[np.ndarray, np.ndarray]:
    """`CANDIDATE` (n,) of the labelled texts, and the labels that people gave, int (n,)."""
    labelled = read_labelled(args.csv, read_map(args.map), spec.taxonomy, spec.context)
    scores = score_texts(labelled.texts, args.nli_model, spec, args.device, args.threads, labelled.previous)
    ranked = scores.ranked(spec)
    best = zip(
        map(words_hash, labelled.texts), ranked.max(axis=1).tolist(), ranked.argmax(axis=1).tolist(), strict=True
    )
    return np.array([(key, *row) for key, row in enumerate(best)], dtype=CANDIDATE), np.array(labelled.truth)


def cell(chosen: np.ndarray, every: np.ndarray, agrees: np.ndarray | None) -> str:
    """How many are ``chosen``, with their share of ``every`` or, if known, the share that people label the same."""
    count = int(chosen.sum())
    share = count / max(1, every.sum()) if agrees is None else (chosen & agrees).sum() / max(1, count)
    return f"{count} ({share:.1%})"


def print_row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--output", metavar="DIR")
    source.add_argument("--csv", metavar="FILE")
    parser.add_argument("--map", metavar="FILE.yaml")
    add_label_options(parser)
    add_shard_options(parser)
    add_device_options(parser)
    args = parser.parse_args()
    spec, shards = label_spec(args), shard_spec(args)
    agrees = None
    if args.csv:
        candidates, truth = scored_candidates(args, spec)
        agrees = truth == candidates["label"]
    else:
        candidates = stored_candidates(args.output, spec, shards)
    rules = select(candidates, shards)
    columns = {"candidates": np.full(len(candidates), True)}
    for index, rule in enumerate(RULES):
        value = getattr(shards, rule.option)
        if value is not None:
            columns[f"--{rule.option.replace('_', '-')} {value}"] = rules > index
    print_row(["label", *columns])
    print_row(["---"] * (1 + len(columns)))
    for index, label in enumerate(spec.taxonomy.labels):
        of_label = candidates["label"] == index
        print_row([label.name, *(cell(stays & of_label, stays, agrees) for stays in columns.values())])
    print_row(["all", *(cell(stays, stays, agrees) for stays in columns.values())])


if __name__ == "__main__":
    main()
