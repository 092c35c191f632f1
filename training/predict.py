"""``lanser predict``: label probabilities of audio files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lanser_ops.common.command import guarded
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser


def build_parser() -> Parser:
    parser = Parser(
        "predict", "Label probabilities of audio files.", example="lanser predict --checkpoint fine examples/audio"
    )
    parser.add_argument("audio", nargs="+", type=Path, metavar="AUDIO")
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="the output of lanser finetune or pretrain")
    parser.add_argument("--json", action="store_true", help="print a line of JSON per file")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Print the probabilities of every file; after the others, raises InputError for files that cannot be decoded."""
    args = build_parser().parse_args(argv)
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    from lanser_ops.audio.decode import AudioError, read_all
    from training.classifier import probabilities
    from training.model import load_model

    model = load_model(args.checkpoint)
    failures = []
    for path in args.audio:
        try:
            with path.open("rb") as stream:
                wave = read_all(stream)
        except (AudioError, OSError) as error:
            failures.append(f"{path}: {error}")
            continue
        [by_index] = probabilities(model, [wave]).tolist()
        by_label = dict(sorted(zip(model.spec.labels, by_index, strict=True), key=lambda pair: -pair[1]))
        if args.json:
            print(json.dumps({"path": str(path), "probabilities": by_label}))
        else:
            print(f"{path}  " + "  ".join(f"{label} {value:.3f}" for label, value in by_label.items()))
    for line in failures[1:]:
        print(f"lanser predict: cannot be decoded: {line}", file=sys.stderr)
    if failures:
        raise InputError(f"cannot be decoded: {failures[0]}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "predict", interrupted="interrupted", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
