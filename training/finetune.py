"""``lanser finetune``: fine-tune on labelled speech, and evaluate on speakers that were not trained on."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from schemas.metrics import confusion, scores
from training.classifier import FitSpec, embed_all, fit, fit_linear, probabilities
from training.corpora import Corpus, Fold, add_corpus_options, load, make_folds, read_corpus, take_fraction
from training.device import add_device_option, pick_device
from training.errors import InputError, Parser, count, guarded, positive
from training.features import Augment
from training.model import RESNETS, EmotionModel, load_model, new_model, save_model, with_new_head
from training.pretrain import PEAK_RATE

FIGURES = ("ua", "wa", "macro_f1")


def parser() -> Parser:
    made = Parser("lanser finetune", description="Fine-tune and evaluate on labelled speech.")
    made.add_argument("--checkpoint", metavar="RUN", help="what lanser pretrain wrote")
    made.add_argument("--from-scratch", metavar="BACKBONE", help=f"instead of --checkpoint: {', '.join(RESNETS)}")
    add_corpus_options(made)
    made.add_argument("--output", required=True, type=Path, metavar="RUN2")
    made.add_argument("--only-folds", nargs="+", type=int, metavar="FOLD", help="test on these alone, counted from 0")
    made.add_argument("--label-fraction", nargs="+", type=_fraction, default=[1.0], metavar="SHARE")
    made.add_argument("--seeds", nargs="+", type=int, default=[0])
    made.add_argument("--frozen", action="store_true", help="a linear classifier on the network as it is")
    made.add_argument("--steps", type=count, default=600, help="optimizer steps, the same for every share")
    made.add_argument("--batch-size", type=count, default=32)
    made.add_argument("--lr", type=positive, help="peak learning rate (1e-3; 3e-5 for audio encoders)")
    made.add_argument("--weight-decay", type=float, default=0.01)
    made.add_argument("--warmup", type=float, default=0.1, help="share of the steps")
    made.add_argument("--crop-s", type=positive, default=3.0)
    made.add_argument("--augment", action="store_true", help="SpecAugment and gain; for more labels than RAVDESS has")
    made.add_argument("--precision", choices=("no", "bf16"), default="no", help="of the network while it trains")
    made.add_argument("--no-export", dest="export", action="store_false", help="evaluate alone")
    add_device_option(made)
    made.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return made


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share above 0 and up to 1")
    return number


def run(argv: Sequence[str] | None = None) -> None:
    """Parse ``argv``, evaluate, and export; raises InputError for what the user has to mend."""
    args = parser().parse_args(argv)
    if bool(args.checkpoint) == bool(args.from_scratch):
        raise InputError("give either --checkpoint RUN or --from-scratch BACKBONE")
    device = pick_device(args.device)
    corpus = read_corpus(args.data, args.root, args.labels)
    base = load_model(args.checkpoint) if args.checkpoint else None
    folds = make_folds(corpus, args.folds)
    chosen = list(range(len(folds))) if args.only_folds is None else args.only_folds
    if not set(chosen) <= set(range(len(folds))):
        raise InputError(f"--only-folds {' '.join(map(str, chosen))}: there are folds 0 to {len(folds) - 1}")
    waves, skipped = load(corpus)
    labels = [corpus.labels.index(utterance.label) for utterance in corpus.utterances]
    job = _Job(args, corpus, base, waves, labels, device)
    runs = [
        job.evaluate(folds[number], number, fraction, seed)
        for fraction in args.label_fraction
        for seed in args.seeds
        for number in chosen
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
        print(f"{len(skipped)} of {len(waves)} files did not decode; results.json lists them", file=sys.stderr)
    if args.export:
        # For use, not for figures: it has heard every speaker, but never a row whose split is test.
        rows = [row for row, one in enumerate(corpus.utterances) if one.split != "test"]
        save_model(job.train(job.heard(rows), args.seeds[0]), args.output / "model")


class _Job:
    """What every fold shares; embeddings for --frozen are computed once."""

    def __init__(
        self, args: argparse.Namespace, corpus: Corpus, base: EmotionModel | None, waves: list[np.ndarray | None],
        labels: list[int], device: torch.device,
    ):  # fmt: skip
        self.args, self.corpus, self.base = args, corpus, base
        self.waves, self.labels, self.device = waves, labels, device
        self._embedded: dict[int, Tensor] = {}

    def heard(self, rows: Sequence[int]) -> list[int]:
        """Those of ``rows`` that decoded."""
        return [row for row in rows if self.waves[row] is not None]

    def evaluate(self, fold: Fold, number: int, fraction: float, seed: int) -> dict[str, Any]:
        """Train on a share of the fold's training rows; figures of its test rows."""
        rows = take_fraction(self.heard(fold.train), self.labels, fraction, seed)
        tested = self.heard(fold.test)
        if not rows or not tested:
            raise InputError(f"fold {number} has {len(rows)} clips to train on and {len(tested)} to test on")
        model = self.train(rows, seed)
        found = probabilities(model, [self.waves[row] for row in tested], self.device).argmax(dim=1).tolist()
        counts = confusion([self.labels[row] for row in tested], found, len(self.corpus.labels))
        figures = scores(counts)
        told = {"fraction": fraction, "seed": seed, "fold": number, "train_clips": len(rows), "test_clips": len(tested)}
        told |= {name: round(figures[name], 6) for name in FIGURES} | {"confusion": counts.tolist()}
        print(
            f"{fraction:.0%} of the labels, seed {seed}, fold {number}: {len(rows)} clips, UA {figures['ua']:.3f}, "
            f"WA {figures['wa']:.3f}", file=sys.stderr, flush=True,
        )  # fmt: skip
        return told

    def train(self, rows: Sequence[int], seed: int) -> EmotionModel:
        """A model trained on ``rows``."""
        model = self._start(seed)
        labels = [self.labels[row] for row in rows]
        if self.args.frozen:
            model.head = fit_linear(self._embeddings(model, seed)[list(rows)], labels, len(self.corpus.labels))
            return model.eval()
        peak = self.args.lr or PEAK_RATE[model.is_resnet]
        spec = FitSpec(
            self.args.steps, self.args.batch_size, peak, self.args.weight_decay, self.args.warmup, self.args.crop_s,
            Augment() if self.args.augment else None, self.args.precision == "bf16",
        )  # fmt: skip
        fit(model, [self.waves[row] for row in rows], labels, spec, seed, self.device)
        return model

    def _start(self, seed: int) -> EmotionModel:
        """The network before it has seen a label of the corpus."""
        set_seed(seed)
        name = Path(self.args.data).stem
        if self.base is None:
            return new_model(self.args.from_scratch, name, self.corpus.labels).eval()
        return with_new_head(copy.deepcopy(self.base), name, self.corpus.labels).eval()

    def _embeddings(self, model: EmotionModel, seed: int) -> Tensor:
        """Of all clips (clips, width); a network from scratch is another one with every seed."""
        key = seed if self.base is None else 0
        if key not in self._embedded:
            silent = np.zeros(1, np.float32)
            waves = [silent if wave is None else wave for wave in self.waves]
            self._embedded[key] = embed_all(model, waves, self.device)
        return self._embedded[key]


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every label fraction the mean and standard deviation over seeds of each figure, and the confusion matrix.

    A seed's figures are those of the confusion matrix of all its folds together. The standard deviation is that
    of a sample (n - 1), 0 for one seed.
    """
    summary = []
    for fraction in dict.fromkeys(run["fraction"] for run in runs):
        by_seed: dict[int, np.ndarray] = {}
        for one in runs:
            if one["fraction"] == fraction:
                by_seed[one["seed"]] = by_seed.get(one["seed"], 0) + np.array(one["confusion"])
        found = [scores(counts) for counts in by_seed.values()]
        told: dict[str, Any] = {"fraction": fraction, "seeds": len(found)}
        for name in FIGURES:
            values = [figures[name] for figures in found]
            told[f"{name}_mean"] = round(statistics.fmean(values), 6)
            told[f"{name}_std"] = round(statistics.stdev(values), 6) if len(values) > 1 else 0.0
        told["confusion"] = sum(by_seed.values()).tolist()
        summary.append(told)
    return summary


def table(summary: Sequence[dict[str, Any]]) -> str:
    """``summary`` as a Markdown table."""
    lines = ["| labels | UA | WA | macro-F1 |", "|---|---|---|---|"]
    for row in summary:
        cells = [f"{row[f'{name}_mean']:.3f} ± {row[f'{name}_std']:.3f}" for name in FIGURES]
        lines.append(f"| {row['fraction']:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "finetune")


if __name__ == "__main__":
    raise SystemExit(main())
