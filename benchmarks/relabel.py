#!/usr/bin/env python3
"""How fast shards are rewritten for another taxonomy, compared with a plain copy of the same files.

    python benchmarks/relabel.py out/demo --taxonomy ekman

``lanser relabel`` runs once, into a temporary folder, so that every label is known. Then, in turns and with all files
in the page cache, the tars are

- copied (shutil.copyfile),
- rewritten with labels in memory: take the audio from the old tar, make JSON and headers, write tar and rejects,
- rewritten with labels read from Parquet first, which is the complete cost of a unit.

Medians over all runs are printed. MB are those of the old tars.
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
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards import relabel
from pipelines.relabel import run as run_relabel
from schemas.specs import ShardSpec


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
    with tempfile.TemporaryDirectory() as temporary:
        output, copies = Path(temporary, "out"), Path(temporary, "copies")
        copies.mkdir()
        options = ["--taxonomy", args.taxonomy, "--nli-model", args.nli_model, "--prior", args.prior]
        options += [word for template in args.template or [] for word in ("--template", template)]
        run_relabel(["--shards", args.shards, "--output", str(output), *options])
        out, spec, shard_spec = OutputDir(str(output)), label_spec(args), ShardSpec()
        tars = relabel.find_shards([args.shards], out)

        def copy() -> None:
            for tar in tars:
                shutil.copyfile(tar.path, copies / tar.unit.shard)

        def read() -> list[relabel.Labelled]:
            return [relabel.read_labelled(out, tar, spec, shard_spec) for tar in tars]

        def write(units: list[relabel.Labelled]) -> None:
            for tar, labelled in zip(tars, units, strict=True):
                relabel.write_labelled(out, tar, spec, labelled)

        def rewrite() -> None:
            for tar in tars:
                relabel.rewrite_unit(out, tar, spec, shard_spec)

        in_memory = read()
        variants = {"copy": copy, "labels in memory": lambda: write(in_memory), "labels read": rewrite}
        times: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(args.runs):
            for name, work in variants.items():
                for folder in (copies, output / "shards" / spec.taxonomy.name):
                    for path in folder.glob("*.tar"):
                        path.unlink()
                times[name].append(seconds(work))
    size = sum(tar.unit.bytes for tar in tars)
    speeds = {name: size / 1e6 / statistics.median(runs) for name, runs in times.items()}
    print(f"\n{len(tars)} tars, {size / 1e6:.0f} MB, {args.runs} runs")
    for name, speed in speeds.items():
        print(f"{name:>16}: {speed:6.0f} MB/s  {speed / speeds['copy']:6.1%}")


if __name__ == "__main__":
    main()
