"""``lanser predict``: label probabilities of audio files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from training.audio import AudioError, decode
from training.classifier import probabilities
from training.errors import InputError, Parser, guarded
from training.model import load_model


def run(argv: Sequence[str] | None = None) -> None:
    """Print the probabilities of every file; raises InputError, after the others, for files that do not decode."""
    made = Parser("lanser predict", description="Label probabilities of audio files.")
    made.add_argument("audio", nargs="+", type=Path, metavar="AUDIO")
    made.add_argument("--checkpoint", required=True, metavar="RUN", help="what lanser finetune or pretrain wrote")
    made.add_argument("--json", action="store_true", help="a line of JSON a file")
    made.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    args = made.parse_args(argv)
    model = load_model(args.checkpoint)
    failed = []
    for path in args.audio:
        try:
            [found] = probabilities(model, [decode(path)]).tolist()
        except AudioError as error:
            failed.append(f"{path}: {error}")
            continue
        by_label = dict(sorted(zip(model.spec.labels, found, strict=True), key=lambda pair: -pair[1]))
        if args.json:
            print(json.dumps({"path": str(path), "probabilities": by_label}))
        else:
            print(f"{path}  " + "  ".join(f"{label} {value:.3f}" for label, value in by_label.items()))
    for line in failed[1:]:
        print(f"lanser predict: does not decode: {line}", file=sys.stderr)
    if failed:
        raise InputError(f"does not decode: {failed[0]}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "predict")


if __name__ == "__main__":
    raise SystemExit(main())
