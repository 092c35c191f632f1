"""``lanser inspect``: what an output directory or a shard holds, with a few of its samples."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lanser_ops import storage
from lanser_ops.common.command import Parser, guarded
from lanser_ops.common.errors import InputError
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.summary import print_statistics

SHOWN_SCORES = 3


def run(argv: Sequence[str]) -> None:
    parser = Parser(prog="lanser inspect", description="Show what an output directory or a shard holds.")
    parser.add_argument("path", metavar="DIR_OR_TAR")
    parser.add_argument("--samples", type=int, default=5, help="how many to show; default: %(default)s")
    args = parser.parse_args(argv)
    path = storage.absolute(args.path)
    content = read_dataset(OutputDir(path))
    files = [path] if path.endswith(".tar") else sorted(storage.list_files(path))
    tars = [name for name in files if name.endswith(".tar")]
    if not content and not (tars and storage.exists(tars[0])):
        raise InputError(f"{args.path}: neither an output directory of lanser nor a shard")
    for name, entry in content.get("taxonomies", {}).items():
        if "accounts" in entry:
            print_statistics(entry["accounts"], name)
    for tar in tars[:1]:
        _show_shard(tar, args.samples)


def _show_shard(path: str, limit: int) -> None:
    """Print the counts of a shard's labels and its first samples. Raises InputError for a tar without samples."""
    labels: Counter[str] = Counter()
    lines: list[str] = []
    try:
        with storage.open_read(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name.endswith(".json") else None
                if content:
                    fields = json.loads(content.read())
                    labels[fields["label"]] += 1
                    if len(lines) < limit:
                        lines.append(_describe(fields))
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a shard of lanser ({type(error).__name__}: {error})") from None
    if not labels:
        raise InputError(f"{path}: not a shard of lanser (it has no <key>.json)")
    print(f"\n{path}: {sum(labels.values())} samples; " + ", ".join(f"{k} {v}" for k, v in labels.most_common()))
    print(*lines, sep="\n")


def _describe(fields: dict[str, Any]) -> str:
    """A sample's text and best scores, and those of its voice if there are any, on a line each."""
    lines = [
        f"  {fields['key']}  {fields['duration_s']:5.1f} s  {fields['text']!r}",
        f"    {_best(fields['labels'], fields['entailment'])}",
    ]
    if "speech_scores" in fields:
        lines.append(f"    voice: {_best(fields['speech_labels'], fields['speech_scores'])}")
    return "\n".join(lines)


def _best(labels: list[str], scores: list[float]) -> str:
    ranked = sorted(zip(scores, labels, strict=True), reverse=True)[:SHOWN_SCORES]
    return ", ".join(f"{label} {score:.2f}" for score, label in ranked)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "inspect")


if __name__ == "__main__":
    raise SystemExit(main())
