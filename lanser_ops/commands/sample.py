"""``lanser sample``: utterances of an output directory as a CSV for people to label, with their audio."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lanser_ops import storage
from lanser_ops.common.command import guarded, positive, print_next, seed_number
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from lanser_ops.labelling.human_labels import SampleRow, csv_content
from lanser_ops.labelling.sampling import draw
from lanser_ops.shards.labelled import LabelledSample, read_labelled_samples


def build_parser() -> Parser:
    parser = Parser(
        "sample",
        "Draw utterances to label by hand: every label has its share and a floor, across its scores.",
        example="lanser sample out --n 200",
    )
    parser.add_argument("directory", metavar="DIR", help="an output directory of lanser, or a folder of shards")
    parser.add_argument("--taxonomy", metavar="NAME", help="which one, where DIR has the shards of several")
    parser.add_argument("--n", type=positive(int), default=200, help="how many; default: %(default)s")
    parser.add_argument("--seed", type=seed_number, default=0, help="another seed draws others; default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("sample.csv"), metavar="CSV", help="default: %(default)s")
    parser.add_argument(
        "--audio", type=Path, metavar="FOLDER", help="for the FLAC files; default: beside the CSV, as in sample-audio"
    )
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    folder = args.audio or args.output.with_name(f"{args.output.stem}-audio")
    if args.output.exists():
        raise InputError(f"--output {args.output}: exists, perhaps with labels in it; choose another name")
    scoring, samples = read_labelled_samples(args.directory, args.taxonomy)
    texts = [sample.text for sample in samples if sample.text is not None]
    if len(texts) < len(samples):
        raise InputError(
            f"{args.directory}: was written with --redact and holds no transcripts to label by; "
            "write the shards again with lanser shard, without --redact"
        )
    labels = scoring.fitted_on.labels
    drawn = draw(
        [sample.key for sample in samples],
        np.array([sample.label_index for sample in samples]),
        np.array([sample.score for sample in samples]),
        args.n,
        args.seed,
    )
    rows = [
        SampleRow(
            key=samples[index].key,
            audio=Path(os.path.relpath(folder / f"{samples[index].key}.flac", args.output.parent)).as_posix(),
            transcript=texts[index],
            label=labels[samples[index].label_index],
            score=samples[index].score,
            margin=samples[index].margin,
            weight=weight,
        )
        for index, weight in drawn
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, _ in drawn:
            (folder / f"{samples[index].key}.flac").write_bytes(_flac(samples[index]))
        # With a byte order mark, by which spreadsheets know UTF-8.
        with args.output.open("x", encoding="utf-8-sig", newline="") as stream:
            stream.write(csv_content(rows))
    except OSError as error:
        raise InputError(f"--output {args.output}: cannot be written ({' '.join(str(error).split())})") from None
    print(f"wrote {args.output}: {len(rows)} of {len(samples):,} utterances; their audio is in {folder}")
    total = Counter(labels[sample.label_index] for sample in samples)
    counts = Counter(row.label for row in rows)
    print(", ".join(f"{label} {counts[label]} of {total[label]:,}" for label in labels))
    print(f"fill in the column 'human' with {', '.join(labels)}, or leave it empty where you cannot tell")
    taxonomy = ["--taxonomy", args.taxonomy] if args.taxonomy else []
    print_next("calibrate", args.directory, *taxonomy, "--csv", args.output)


def _flac(sample: LabelledSample) -> bytes:
    with storage.open_read(sample.path) as stream:
        stream.seek(sample.flac_offset)
        return stream.read(sample.flac_bytes)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "sample", interrupted="interrupted; nothing was written to --output")


if __name__ == "__main__":
    raise SystemExit(main())
