"""``lanser export-model``: a trained model for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lanser_ops.common.command import guarded, output_folder
from lanser_ops.common.errors import naming
from lanser_ops.common.parser import Parser
from training.model_files import model_folder

ONNX, HUB = FORMATS = ("onnx", "hub")


def build_parser() -> Parser:
    parser = Parser(
        "export-model",
        "Export a trained model to ONNX or for the Hugging Face hub.",
        example="lanser export-model fine --output exported --format onnx",
    )
    parser.add_argument("checkpoint", metavar="RUN", help="the output of lanser finetune or pretrain")
    parser.add_argument("--output", required=True, type=output_folder, metavar="DIR")
    parser.add_argument("--format", choices=FORMATS, default=HUB)
    parser.add_argument("--license", metavar="ID", help="licence in the model card, such as cc-by-nc-sa-4.0")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv`` and export; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    model_folder(args.checkpoint)
    from training.model import load_model  # not for --help or a mistyped option: torch takes seconds to import

    model = load_model(args.checkpoint)
    if args.format == HUB:
        from training.hub import export_hub

        with naming(str(args.output)):
            export_hub(model, Path(args.checkpoint), args.output, args.license)
        print(f"wrote {args.output}, for training.model.load_model({str(args.output)!r})")
        print(f"next: read {args.output / 'README.md'}, then hf upload USER/NAME {args.output}")
        return
    from training.onnx_export import MODEL, export_onnx

    with naming(str(args.output)):
        difference = export_onnx(model, args.output)
    print(f"wrote {args.output / MODEL}; its probabilities differ from torch's by {difference:.1e} at most")
    print("inputs: waves, float32 (batch, samples) at 16 kHz, zero beyond lengths, int64 (batch,)")
    print(f"output: probabilities, float32 (batch, {len(model.spec.labels)}): {', '.join(model.spec.labels)}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "export-model", interrupted="interrupted", extra="export")


if __name__ == "__main__":
    raise SystemExit(main())
