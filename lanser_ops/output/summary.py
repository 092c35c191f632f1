"""What came out of a run, for people: the lines on screen at its end."""

from __future__ import annotations

import os
import sys
from typing import Any

from lanser_ops import storage
from lanser_ops.common.command import print_next
from lanser_ops.common.errors import legible
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import REPORT, OutputDir
from schemas.records import REASONS


def print_statistics(statistics: dict[str, Any], taxonomy: str | None) -> None:
    """Counts, labels, and rejects with their reasons."""
    hours, samples = statistics["hours"], statistics["samples"]
    counts = [f"{statistics['transcripts']} transcripts"]
    if taxonomy:
        counts.append(f"{samples} samples" if samples else f"{statistics['labelled']} labelled")
    counts.append(f"{sum(statistics['rejects'].values())} rejects")
    print(
        f"\n{statistics['sources']} sources, {statistics['utterances']} utterances: {', '.join(counts)}; "
        f"{hours['audio']:.2f} h of audio" + (f", {hours['samples']:.2f} h in samples" if samples else "")
    )
    if taxonomy:
        print(f"\nlabels ({taxonomy})")
        for label, count in statistics["labels"].items():
            print(f"  {legible(label):<24} {count:>7}  {count / _labels(statistics):>6.1%}")
    if statistics["rejects"]:
        print("\nrejects")
        for reason, count in sorted(statistics["rejects"].items(), key=lambda item: (-item[1], item[0])):
            print(f"  {reason:<24} {count:>7}  {REASONS[reason]}")


def _labels(statistics: dict[str, Any]) -> int:
    """How many labels there are, at least 1: what shares are of."""
    return max(1, sum(statistics["labels"].values()))


def print_closing_lines(out: OutputDir, taxonomy: str | None, wall_s: float) -> None:
    """The statistics, seconds by stage, and what to do next."""
    content = read_dataset(out)
    statistics = content["taxonomies"][taxonomy]["accounts"] if taxonomy else content["accounts"]
    print_statistics(statistics, taxonomy)
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in statistics["seconds"].items())
    print(f"\n{wall_s:.1f} s in this run" + (f" (all workers together: {spent})" if spent else ""))
    place = out.root if storage.is_remote(out.root) else min(out.root, os.path.relpath(out.root), key=len)
    program = sys.argv[0] if os.path.basename(sys.argv[0]) == "lanser" else "lanser"
    if taxonomy is None:
        print_next("label", "--output", place, "--taxonomy", "ekman", program=program)
    elif out.names(out.shards(taxonomy)):
        print(f"shards: {place}/{out.shards(taxonomy)}/\nreport: {place}/{REPORT}, to look at and listen to")
        print_next("inspect", place, program=program)
    elif "shard" in content["taxonomies"][taxonomy]:
        print(f"no sample came out; {place}/{REPORT} says what became of the utterances")
    else:
        print_next("shard", "--output", place, "--taxonomy", taxonomy, program=program)


def statistics_by_taxonomy(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Statistics by taxonomy; under the empty name those of the transcripts, if there is nothing else."""
    taxonomies = content.get("taxonomies", {})
    by_name = {name: entry["accounts"] for name, entry in taxonomies.items() if "accounts" in entry}
    return by_name or ({"": content["accounts"]} if "accounts" in content else {})
