#!/usr/bin/env python3
"""How fast shards are rewritten for another taxonomy, beside a plain copy of the same files.

    python benchmarks/relabel.py out/demo --taxonomy ekman

``lanser relabel`` runs once, into a temporary folder, so that every label is known. Then, by turns and with all
files in the page cache, the tars are

- copied (shutil.copyfile),
- rewritten with labels at hand: take the audio from the old tar, make JSON and headers, write tar and rejects,
- rewritten with labels read from Parquet first, which is the whole of what a unit costs.

The middle run of each counts. MB are those of the old tars.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lanser_ops.labelling.options import add_label_options, label_spec
from lanser_ops.output.directory import ShardSpec
from lanser_ops.shards import relabel
from pipelines.relabel import run as run_relabel


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards")
    add_label_options(parser)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output, copies = Path(folder, "out"), Path(folder, "copies")
        copies.mkdir()
        given = ["--taxonomy", args.taxonomy, "--nli-model", args.nli_model, "--prior", args.prior]
        given += [word for template in args.template or [] for word in ("--template", template)]
        run_relabel(["--shards", args.shards, "--output", str(output), *given])
        spec, tars = label_spec(args), relabel.find_shards([args.shards], str(output))

        def copy() -> None:
            for tar in tars:
                shutil.copyfile(tar.path, copies / tar.unit.shard)

        def read() -> list[relabel.Labelled]:
            return [relabel.read_labelled(str(output), tar, spec, ShardSpec()) for tar in tars]

        def write(labelled: list[relabel.Labelled]) -> None:
            for tar, one in zip(tars, labelled, strict=True):
                relabel.write_labelled(str(output), tar, spec, one)

        def rewrite() -> None:
            for tar in tars:
                relabel.rewrite_unit(str(output), tar, spec, ShardSpec())

        at_hand = read()
        ways = {"copy": copy, "labels at hand": lambda: write(at_hand), "labels read": rewrite}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.runs):
            for name, work in ways.items():
                for place in (copies, output / "shards" / spec.taxonomy.name):
                    for old in place.glob("*.tar"):
                        old.unlink()
                times[name].append(seconds(work))
    size = sum(tar.unit.bytes for tar in tars)
    speeds = {name: size / 1e6 / statistics.median(runs) for name, runs in times.items()}
    print(f"\n{len(tars)} tars, {size / 1e6:.0f} MB, {args.runs} runs")
    for name, speed in speeds.items():
        print(f"{name:>14}: {speed:6.0f} MB/s  {speed / speeds['copy']:6.1%}")


if __name__ == "__main__":
    main()
