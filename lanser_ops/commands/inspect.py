"""``lanser inspect``: what an output directory or a shard holds, a few samples of it in full."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Sequence

from lanser_ops import storage
from lanser_ops.common.command import Parser, guarded
from lanser_ops.common.errors import InputError
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.report import print_statistics

SHOWN_SCORES = 3


def run(argv: Sequence[str]) -> None:
    made = Parser(prog="lanser inspect", description="Show what an output directory or a shard holds.")
    made.add_argument("path", metavar="DIR_OR_TAR")
    made.add_argument("--samples", type=int, default=5, help="how many to show; default: %(default)s")
    args = made.parse_args(argv)
    path = storage.absolute(args.path)
    content = read_dataset(OutputDir(path))
    tars = (
        [path] if path.endswith(".tar") else sorted(name for name in storage.list_files(path) if name.endswith(".tar"))
    )
    if not content and not (tars and storage.exists(tars[0])):
        raise InputError(f"{args.path}: neither an output directory of lanser nor a shard")
    for name, entry in content.get("taxonomies", {}).items():
        if "accounts" in entry:
            print_statistics(entry["accounts"], name)
    for tar in tars[:1]:
        _show_shard(tar, args.samples)


def _show_shard(path: str, shown: int) -> None:
    labels: Counter[str] = Counter()
    told = []
    try:
        with storage.open_read(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".json"):
                    fields = json.loads(tar.extractfile(member).read())
                    labels[fields["label"]] += 1
                    if len(told) < shown:
                        told.append(fields)
    except (tarfile.TarError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a shard of lanser ({error})") from None
    print(f"\n{path}: {sum(labels.values())} samples; " + ", ".join(f"{k} {v}" for k, v in labels.most_common()))
    for fields in told:
        ranked = sorted(zip(fields["entailment"], fields["labels"], strict=True), reverse=True)[:SHOWN_SCORES]
        scores = ", ".join(f"{label} {score:.2f}" for score, label in ranked)
        print(f"  {fields['key']}  {fields['duration_s']:5.1f} s  {fields['text']!r}\n    {scores}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "inspect")


if __name__ == "__main__":
    raise SystemExit(main())
