"""``lanser inspect``: what an output directory or a shard holds, with samples of a label, the best or the weakest."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lanser_ops import storage, tar
from lanser_ops.common.command import guarded, positive
from lanser_ops.common.errors import InputError, legible
from lanser_ops.common.parser import Parser
from lanser_ops.common.progress import tracked
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.summary import print_statistics
from schemas.specs import MAX_JSON_BYTES
from schemas.suggestions import did_you_mean

SHOWN_SCORES = 3


@dataclass(frozen=True)
class _Sample:
    """What is shown of a sample, and what it is chosen and sorted by; ``labels`` are those of its taxonomy."""

    label: str
    labels: tuple[str, ...]
    score: float
    margin: float
    description: str


def build_parser() -> Parser:
    parser = Parser(
        "inspect",
        "Show what an output directory or a shard holds: counts and a few samples, or those of a label.",
        example="lanser inspect out --label anger --sort margin --limit 20",
    )
    parser.add_argument("path", metavar="DIR_OR_TAR", help="what lanser build or relabel wrote, or one of its shards")
    parser.add_argument("--taxonomy", metavar="NAME", help="which one, where DIR has the shards of several")
    parser.add_argument("--label", metavar="NAME", help="only samples of this label; default: all")
    parser.add_argument(
        "--sort", choices=("score", "margin"), help="the highest first, over all shards; default: as they lie"
    )
    parser.add_argument("--lowest", action="store_true", help="with --sort, the lowest first")
    parser.add_argument("--limit", type=positive(int), default=5, metavar="N", help="how many samples to show")
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    if args.lowest and not args.sort:
        raise InputError("--lowest: of what? add --sort score or --sort margin")
    path = storage.absolute(args.path)
    content = read_dataset(OutputDir(path))
    tars = _tars(path, args.path, args.taxonomy, is_selection=bool(args.label or args.sort))
    if not content and not (tars and storage.exists(tars[0])):
        raise InputError(f"{args.path}: neither an output directory of lanser nor a shard")
    if tars and (args.label or args.sort):
        return _show_samples(tars, args.path, args.label, args.sort, args.lowest, args.limit)
    for name, entry in content.get("taxonomies", {}).items():
        if "accounts" in entry and args.taxonomy in (None, name):
            print_statistics(entry["accounts"], name)
    for shard in tars[:1]:
        _show_samples([shard], shard, None, None, False, args.limit)


def _tars(path: str, name: str, taxonomy: str | None, is_selection: bool) -> list[str]:
    """The shards in ``path``, of ``taxonomy`` if one is named. Raises InputError where it is not clear which."""
    if path.endswith(".tar"):
        return [path]
    tars = sorted(file for file in storage.list_files(path) if file.endswith(".tar"))
    folders = {shard.rpartition("/")[0]: shard.rsplit("/", 2)[-2] for shard in tars}
    names = sorted(set(folders.values()))
    if taxonomy and taxonomy not in names:
        raise InputError(
            f"{name}: no shards of {taxonomy!r} (there are {', '.join(names) or 'none'}){did_you_mean(taxonomy, names)}"
        )
    if is_selection and not taxonomy and len(folders) > 1:
        raise InputError(f"{name}: has shards of {', '.join(names)}; choose with --taxonomy")
    return [shard for shard in tars if taxonomy in (None, folders[shard.rpartition("/")[0]])]


def _show_samples(
    tars: Sequence[str], name: str, label: str | None, sort: str | None, lowest: bool, limit: int
) -> None:
    """Print the counts of the labels in ``tars``, and ``limit`` samples.

    Raises InputError for a tar that lanser did not write, and for a label that no sample has.
    """
    counts: Counter[str] = Counter()
    known: set[str] = set()

    def chosen() -> Iterator[tuple[float, int, str]]:
        for path in tracked(tars, len(tars), "reading shards"):
            for sample in _samples(path):
                counts[sample.label] += 1
                known.update(sample.labels)
                if label in (None, sample.label):
                    rank = 0.0 if sort is None else getattr(sample, sort) * (1 if lowest else -1)
                    yield rank, counts.total(), sample.description

    shown = [description for _, _, description in heapq.nsmallest(limit, chosen())]
    if label is not None and label not in known:
        raise InputError(
            f"--label {label}: no label of these shards ({', '.join(sorted(known))})"
            f"{did_you_mean(label, sorted(known))}"
        )
    print(f"\n{name}: {counts.total()} samples; " + ", ".join(f"{k} {v}" for k, v in counts.most_common()))
    if sort or label:
        order = f", the {'lowest' if lowest else 'highest'} {sort} first" if sort else ""
        print(f"{len(shown)} of {counts[label] if label else counts.total()} samples of {label or 'all labels'}{order}")
    print(*shown, sep="\n")


def _samples(path: str) -> Iterator[_Sample]:
    """Every sample of a shard. Raises InputError for a tar that is none."""
    is_empty = True
    try:
        with storage.open_read(path) as stream:
            for member in tar.read_members(stream):
                if member.name.endswith(".json"):
                    fields = orjson.loads(tar.read_content(stream, member, MAX_JSON_BYTES))
                    is_empty = False
                    yield _Sample(
                        legible(str(fields["label"])),
                        tuple(legible(str(label)) for label in fields["labels"]),
                        float(fields["score"]),
                        float(fields["margin"]),
                        "\n".join(map(legible, _description_lines(fields))),
                    )
    except (tar.BrokenTar, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a shard of lanser ({type(error).__name__}: {error})") from None
    if is_empty:
        raise InputError(f"{path}: not a shard of lanser (it has no <key>.json)")


def _description_lines(fields: dict[str, Any]) -> list[str]:
    """A sample's text, its label, its best scores, and those of its voice if there are any."""
    lines = [
        f"  {fields['key']}  {fields['duration_s']:5.1f} s  {fields['text']!r}",
        f"    {fields['label']}: score {fields['score']:.3f}, margin {fields['margin']:.3f}; entailment "
        f"{_best(fields['labels'], fields['entailment'])}",
    ]
    if "speech_scores" in fields:
        lines.append(f"    voice: {_best(fields['speech_labels'], fields['speech_scores'])}")
    return lines


def _best(labels: list[str], scores: list[float]) -> str:
    ranked = sorted(zip(scores, labels, strict=True), reverse=True)[:SHOWN_SCORES]
    return ", ".join(f"{label} {score:.2f}" for score, label in ranked)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "inspect")


if __name__ == "__main__":
    raise SystemExit(main())
