"""``lanser finetune``: fine-tune on labelled speech, and evaluate on speakers that were not trained on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lanser_ops.common.command import (
    between,
    check_distinct,
    guarded,
    output_folder,
    positive,
    print_next,
    seed_number,
    share,
    warn,
)
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError, naming
from lanser_ops.common.parser import Parser
from training.backbones import check_backbone
from training.corpora.folds import VAL_SHARE, Fold, make_folds
from training.corpora.read import add_corpus_options, load, read_corpus
from training.corpora.utterance import TEST, VAL
from training.model_files import model_folder
from training.model_options import add_model_options, add_step_options, read_model_options
from training.tracking import add_tracker_option, start_trackers, tracker_options

if TYPE_CHECKING:
    from training.evaluation import Experiment
    from training.progress import StepProgress

RESULTS = "results.json"
PATIENCE = 5


def build_parser() -> Parser:
    parser = Parser(
        "finetune",
        "Fine-tune and evaluate on labelled speech.",
        example="lanser finetune --checkpoint run --data ravdess --root RAVDESS --output fine",
    )
    parser.add_argument("--checkpoint", metavar="RUN", help="the output of lanser pretrain; or give --backbone")
    add_model_options(parser)
    add_corpus_options(parser)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--label-fraction", nargs="+", type=share, default=[1.0], metavar="SHARE",
        help="share of the labelled training clips that is used; several are run one after the other; default: 1",
    )  # fmt: skip
    training.add_argument(
        "--seeds", nargs="+", type=seed_number, default=[0], metavar="SEED", help="a run for each; default: 0"
    )
    training.add_argument(
        "--steps", type=positive(int), default=600, metavar="N", help="optimizer steps, the same for every share"
    )
    training.add_argument("--batch-size", type=positive(int), default=32, metavar="N", help="clips per step")
    add_step_options(training, warmup=0.1, crop_s=3.0)
    training.add_argument(
        "--augment", action="store_true", help="SpecAugment and gain; for more labels than RAVDESS has"
    )
    training.add_argument(
        "--val-share", type=between(0, 1), metavar="SHARE",
        help="share of the training speakers to validate on for early stopping; 0: run all steps; "
        f"default: {VAL_SHARE:g}",
    )  # fmt: skip
    training.add_argument(
        "--patience", type=positive(int), default=PATIENCE, metavar="N",
        help="stop after this many validations in a row without a higher UA; there are 20 in all steps",
    )  # fmt: skip
    training.add_argument(
        "--only-folds", nargs="+", type=int, metavar="FOLD", help="test on these folds, from 0; default: all"
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--output", required=True, type=output_folder, metavar="RUN2", help="folder for figures, predictions and model"
    )
    running.add_argument("--no-export", dest="export", action="store_false", help="evaluate only")
    running.add_argument("--device", choices=DEVICES, default="auto", help="what the network runs on")
    running.add_argument("--precision", choices=("no", "bf16"), default="no", help="of the network in training")
    add_tracker_option(running)
    running.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv``, evaluate, and export; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    if bool(args.checkpoint) == bool(args.backbone):
        raise InputError("give either --checkpoint RUN or --backbone NAME")
    if args.checkpoint:
        model_folder(args.checkpoint)
    else:
        check_backbone(args.backbone)
    if args.patience != PATIENCE and args.val_share == 0:
        warn("--patience does nothing with --val-share 0, which runs all steps")
    check_distinct("--seeds", args.seeds)
    check_distinct("--label-fraction", args.label_fraction)
    check_distinct("--only-folds", args.only_folds or [])
    corpus = read_corpus(args.data, args.root, args.labels)
    folds = make_folds(corpus, args.folds)
    fold_numbers = list(range(len(folds))) if args.only_folds is None else args.only_folds
    if not set(fold_numbers) <= set(range(len(folds))):
        raise InputError(f"--only-folds {' '.join(map(str, fold_numbers))}: the folds are 0 to {len(folds) - 1}")
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    import torch
    from accelerate import Accelerator

    from training.evaluation import Experiment, run_all, summarise, table
    from training.model import load_model
    from training.predictions import PREDICTIONS, write_predictions
    from training.progress import StepProgress

    device = torch.device(resolve_device(args.device))
    base = load_model(args.checkpoint) if args.checkpoint else None
    options = read_model_options(args, base.spec.backbone if base else None)
    trackers = tracker_options(args.tracker, args.output)
    waves, skipped = load(corpus)
    experiment = Experiment(args, options, corpus, base, waves, device)
    record = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    plan = [
        (folds[number], number, fraction, seed)
        for fraction in args.label_fraction
        for seed in args.seeds
        for number in fold_numbers
    ]
    accelerator = Accelerator(cpu=device.type == "cpu", **trackers)
    args.output.mkdir(parents=True, exist_ok=True)
    start_trackers(accelerator, record)
    progress = StepProgress(experiment.steps * (len(plan) + args.export))
    try:
        with naming(str(args.output)):
            runs, predictions = run_all(experiment, plan, accelerator, progress)
            summary = summarise(runs, predictions)
            results = {
                "options": record, "labels": corpus.labels, "clips": len(waves), "skipped": skipped,
                "device": str(device), "summary": summary, "runs": runs,
            }  # fmt: skip
            (args.output / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            write_predictions(args.output / PREDICTIONS, predictions)
            if args.export:
                _export(experiment, folds, args.output / "model", progress, experiment.steps * len(plan))
    finally:
        progress.close()
        accelerator.end_training()
    print(table(summary))
    if skipped:
        print(
            f"{len(skipped)} of {len(corpus.utterances)} clips could not be decoded; results.json lists them",
            file=sys.stderr,
        )
    print(f"\nwrote {args.output / RESULTS}, {args.output / PREDICTIONS}")
    if args.export:
        print(f"wrote {args.output / 'model'}, trained on all speakers")
        print_next("predict", "AUDIO", "--checkpoint", args.output)


def _export(experiment: Experiment, folds: Sequence[Fold], folder: Path, progress: StepProgress, done: int) -> None:
    """Train for use, not for figures: on every speaker, but never on a row whose split is test."""
    from training.model import save_model

    corpus = experiment.corpus
    rows = [row for row, utterance in enumerate(corpus.utterances) if utterance.split not in (VAL, TEST)]
    val = experiment.decoded(folds[0].val)
    seed = experiment.args.seeds[0]
    trained = experiment.train(
        experiment.decoded(rows), val, seed, lambda step, _: progress.update(done + step, "the model for use")
    )
    progress.update(done + experiment.steps, "the model for use")
    save_model(trained.model, folder)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "finetune", interrupted="interrupted; nothing was saved", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
