"""``lanser finetune``: fine-tune on labelled speech, and evaluate on speakers that were not trained on."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from lanser_ops.common.command import between, guarded, positive
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser
from training.backbones import RESNETS
from training.corpora import add_corpus_options, load, make_folds, read_corpus


def build_parser() -> Parser:
    parser = Parser(
        "finetune",
        "Fine-tune and evaluate on labelled speech.",
        example="lanser finetune --data RAVDESS --init run --output fine",
    )
    parser.add_argument("--checkpoint", metavar="RUN", help="the output of lanser pretrain")
    parser.add_argument("--from-scratch", metavar="BACKBONE", help=f"instead of --checkpoint: {', '.join(RESNETS)}")
    add_corpus_options(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="RUN2")
    parser.add_argument("--only-folds", nargs="+", type=int, metavar="FOLD", help="test on these folds, from 0")
    parser.add_argument("--label-fraction", nargs="+", type=_share, default=[1.0], metavar="SHARE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--frozen", action="store_true", help="fit a linear classifier on the unchanged network")
    parser.add_argument("--steps", type=positive(int), default=600, help="optimizer steps, the same for every share")
    parser.add_argument("--batch-size", type=positive(int), default=32)
    parser.add_argument("--lr", type=positive(float), help="peak learning rate (1e-3; 3e-5 for audio encoders)")
    parser.add_argument("--weight-decay", type=between(0, math.inf), default=0.01)
    parser.add_argument("--warmup", type=between(0, 1), default=0.1, help="share of the steps")
    parser.add_argument("--crop-s", type=positive(float), default=3.0, help="seconds of a clip that are trained on")
    parser.add_argument("--augment", action="store_true", help="SpecAugment and gain; for more labels than RAVDESS has")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no", help="of the network in training")
    parser.add_argument("--no-export", dest="export", action="store_false", help="evaluate only")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share above 0 and up to 1")
    return number


def run(argv: Sequence[str]) -> None:
    """Parse ``argv``, evaluate, and export; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    if bool(args.checkpoint) == bool(args.from_scratch):
        raise InputError("give either --checkpoint RUN or --from-scratch BACKBONE")
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    import torch

    from training.evaluation import Experiment, summarise, table
    from training.model import load_model, save_model

    device = torch.device(resolve_device(args.device))
    corpus = read_corpus(args.data, args.root, args.labels)
    base = load_model(args.checkpoint) if args.checkpoint else None
    folds = make_folds(corpus, args.folds)
    fold_numbers = list(range(len(folds))) if args.only_folds is None else args.only_folds
    if not set(fold_numbers) <= set(range(len(folds))):
        raise InputError(f"--only-folds {' '.join(map(str, fold_numbers))}: the folds are 0 to {len(folds) - 1}")
    waves, skipped = load(corpus)
    experiment = Experiment(args, corpus, base, waves, device)
    runs = [
        experiment.evaluate(folds[number], number, fraction, seed)
        for fraction in args.label_fraction
        for seed in args.seeds
        for number in fold_numbers
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    summary = summarise(runs)
    results = {
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "labels": corpus.labels, "clips": len(waves) - len(skipped), "skipped": skipped, "device": str(device),
        "summary": summary, "runs": runs,
    }  # fmt: skip
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(summary))
    if skipped:
        print(f"{len(skipped)} of {len(waves)} clips could not be decoded; results.json lists them", file=sys.stderr)
    if args.export:
        # For use, not for figures: it is trained on every speaker, but never on a row whose split is test.
        rows = [row for row, utterance in enumerate(corpus.utterances) if utterance.split != "test"]
        save_model(experiment.train(experiment.decoded(rows), args.seeds[0]), args.output / "model")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "finetune", interrupted="interrupted; nothing was saved", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
