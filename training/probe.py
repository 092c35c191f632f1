"""``lanser probe``: what a frozen representation encodes about speech, measured with linear heads.

Emotion is classified (UA); mean pitch, pitch range, energy and speaking rate, as Praat measures them, are
regressed (R²). Heads are tested on speakers that they were not fitted on, and compared with the same network before
training and with the mean and spread of every log-mel band.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from lanser_ops.common.command import check_distinct, guarded, output_folder, seed_number
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from training.corpora.folds import make_folds
from training.corpora.read import add_corpus_options, load, read_corpus
from training.model_files import model_folder
from training.model_options import add_model_options, read_model_options

Summary = dict[str, dict[str, dict[str, float]]]


def build_parser() -> Parser:
    parser = Parser(
        "probe",
        "What a frozen representation encodes: emotion, pitch, energy, rate.",
        example="lanser probe --checkpoint run --data ravdess --root RAVDESS",
    )
    parser.add_argument("--checkpoint", nargs="+", default=[], metavar="RUN", help="the output of lanser pretrain")
    add_model_options(parser, trains=False)
    add_corpus_options(parser)
    parser.add_argument(
        "--output", type=output_folder, metavar="DIR", help="folder for probe.json; default: not written"
    )
    parser.add_argument("--seeds", nargs="+", type=seed_number, default=[0], help="of the untrained networks")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv``, fit the heads, print a table; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    if not args.checkpoint and not args.backbone:
        raise InputError("give --checkpoint RUN, --backbone NAME, or both")
    check_distinct("--seeds", args.seeds)
    options = read_model_options(args)
    for name in args.checkpoint:
        model_folder(name)
    corpus = read_corpus(args.data, args.root, args.labels)
    folds = make_folds(corpus, args.folds)
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    import torch

    from training.frozen import summaries, together
    from training.model import load_model, new_model
    from training.readout import measure_all, read_out, representations

    device = torch.device(resolve_device(args.device))
    models = {name: load_model(name) for name in args.checkpoint}
    clips, _ = load(corpus)
    if args.backbone:
        model = new_model(args.backbone, "none", corpus.labels, options.pooling)
        # So that no layer outweighs the others in their mean.
        model.pooling.standardise(*together(summaries(model, list(clips.values()), device, options.cache)))
        models[args.backbone] = model
    prosodies = measure_all(list(clips.values()))
    results: dict[str, dict[str, list[float]]] = {}
    for name, inputs in representations(models, list(clips.values()), args.seeds, device, options.cache):
        for quality, value in read_out(inputs, list(clips), corpus, folds, prosodies).items():
            results.setdefault(name, {}).setdefault(quality, []).append(value)
    summary = {
        name: {
            quality: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
            for quality, values in by_quality.items()
        }
        for name, by_quality in results.items()
    }
    _print(summary)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        report = {"clips": len(clips), "without_voice": prosodies.count(None), "representations": summary}
        (args.output / "probe.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {args.output / 'probe.json'}")


def _print(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("representation")
    for quality in next(iter(summary.values())):
        figure = "UA" if quality == "emotion" else "R²"
        table.add_column(f"{quality.replace('_', ' ')}, {figure}", justify="right")
    for name, by_quality in summary.items():
        cells = (
            f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if figure["std"] else "")
            for figure in by_quality.values()
        )
        table.add_row(name, *cells)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "probe", interrupted="interrupted; nothing was saved", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
