"""``lanser predict``: label probabilities of audio files."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lanser_ops.common.command import guarded, output_file, warn
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError, legible
from lanser_ops.common.parser import Parser
from training.model_files import model_folder
from training.recordings import find_recordings

OUTPUTS = (".csv", ".jsonl")


def build_parser() -> Parser:
    parser = Parser(
        "predict", "Label probabilities of audio files.", example="lanser predict --checkpoint fine examples/audio"
    )
    parser.add_argument(
        "audio", nargs="+", metavar="AUDIO", help="files, folders, globs, or manifests (CSV, TSV, JSONL) with a path"
    )
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="the output of lanser finetune or pretrain")
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write to a .csv or .jsonl; default: the terminal"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON per file")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Print or write the probabilities of every file; files that cannot be decoded are named and left out.

    Raises InputError if none can be decoded, and for what the user has to fix.
    """
    args = build_parser().parse_args(argv)
    if args.output and args.output.suffix.lower() not in OUTPUTS:
        raise InputError(f"--output {args.output}: use a name that ends in {' or '.join(OUTPUTS)}")
    if args.output and args.json:
        warn("--json does nothing with --output, whose ending decides")
    model_folder(args.checkpoint)
    paths = find_recordings(args.audio)
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    import torch

    from lanser_ops.audio.decode import AudioError
    from training.classifier import predict_file
    from training.model import load_model
    from training.progress import StepProgress

    device = torch.device(resolve_device(args.device))
    model = load_model(args.checkpoint)
    progress = StepProgress(len(paths), unit="file") if args.output else None
    rows: list[dict[str, Any]] = []
    try:
        for number, path in enumerate(paths, 1):
            try:
                label, by_label = predict_file(model, path, device)
            except (AudioError, OSError) as error:
                print(legible(f"cannot be decoded, left out: {path}: {error}"), file=sys.stderr)
                continue
            finally:
                if progress:
                    progress.update(number, legible(path.name))
            rows.append({"path": str(path), "predicted": label, "probabilities": by_label})
            if not args.output:
                print(json.dumps(rows[-1]) if args.json else legible(_line(rows[-1])))
    finally:
        if progress:
            progress.close()
    if not rows:
        raise InputError(f"none of {len(paths)} files can be decoded")
    if args.output:
        _write(args.output, rows, model.spec.labels)
        print(f"wrote {args.output}, {len(rows)} of {len(paths)} files")


def _line(row: dict[str, Any]) -> str:
    ranked = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])
    return f"{row['path']}  " + "  ".join(f"{label} {value:.3f}" for label, value in ranked)


def _write(path: Path, rows: Iterable[dict[str, Any]], labels: Sequence[str]) -> None:
    """A line of JSON per row, or a CSV with a column per label."""
    try:
        # A file name need not be UTF-8.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            if path.suffix.lower() == ".jsonl":
                stream.writelines(json.dumps(row) + "\n" for row in rows)
                return
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["path", "predicted", *labels])
            writer.writerows([row["path"], row["predicted"], *row["probabilities"].values()] for row in rows)
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written ({error.strerror}); choose another file") from None


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "predict", interrupted="interrupted", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
