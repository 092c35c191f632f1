"""Fine-tuning in speaker-independent folds, and the figures of many such runs."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from lanser_ops.common.errors import InputError
from schemas.metrics import confusion, scores
from training.backbones import peak_rate
from training.classifier import FitSpec, embed_all, fit, fit_linear, probabilities
from training.corpora.folds import Fold, take_fraction
from training.corpora.utterance import Corpus
from training.features import Augment
from training.model import EmotionModel, new_model, with_new_head

FIGURES = ("ua", "wa", "macro_f1")


class Experiment:
    """What all runs on a corpus share; embeddings for --frozen are computed once.

    ``args`` are the options of `lanser finetune`, ``waves`` the corpus' waveforms, None for one that cannot be
    decoded. Without ``base`` every run starts from the untrained network that --from-scratch names.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        corpus: Corpus,
        base: EmotionModel | None,
        waves: Sequence[np.ndarray | None],
        device: torch.device,
    ):
        self.args, self.corpus, self.base, self.device = args, corpus, base, device
        self.labels = [corpus.labels.index(utterance.label) for utterance in corpus.utterances]
        self._waves = {row: wave for row, wave in enumerate(waves) if wave is not None}
        self._embedded: dict[int, Tensor] = {}

    def decoded(self, rows: Sequence[int]) -> list[int]:
        """Those of ``rows`` that could be decoded."""
        return [row for row in rows if row in self._waves]

    def evaluate(self, fold: Fold, number: int, fraction: float, seed: int) -> dict[str, Any]:
        """Train on a share of the fold's training rows; returns figures on its test rows."""
        rows = take_fraction(self.decoded(fold.train), self.labels, fraction, seed)
        tested = self.decoded(fold.test)
        if not rows or not tested:
            raise InputError(
                f"fold {number} has {len(rows)} clips to train on and {len(tested)} to test on; give --folds, or more "
                "speakers"
            )
        model = self.train(rows, seed)
        predicted = probabilities(model, [self._waves[row] for row in tested], self.device).argmax(dim=1).tolist()
        counts = confusion([self.labels[row] for row in tested], predicted, len(self.corpus.labels))
        figures = scores(counts)
        print(
            f"{fraction:.0%} of the labels, seed {seed}, fold {number}: {len(rows)} clips, UA {figures['ua']:.3f}, "
            f"WA {figures['wa']:.3f}", file=sys.stderr, flush=True,
        )  # fmt: skip
        return {
            "fraction": fraction, "seed": seed, "fold": number, "train_clips": len(rows), "test_clips": len(tested),
            **{name: round(figures[name], 6) for name in FIGURES}, "confusion": counts.tolist(),
        }  # fmt: skip

    def train(self, rows: Sequence[int], seed: int) -> EmotionModel:
        """A model trained on ``rows``, all of which were decoded."""
        model = self._start(seed)
        labels = [self.labels[row] for row in rows]
        if self.args.frozen:
            model.head = fit_linear(self._embeddings(model, seed)[list(rows)], labels, len(self.corpus.labels))
            return model.eval()
        spec = FitSpec(
            steps=self.args.steps,
            batch_size=self.args.batch_size,
            peak=self.args.lr or peak_rate(model.is_resnet),
            weight_decay=self.args.weight_decay,
            warmup=self.args.warmup,
            crop_s=self.args.crop_s,
            augment=Augment() if self.args.augment else None,
            bf16=self.args.precision == "bf16",
        )
        fit(model, [self._waves[row] for row in rows], labels, spec, seed, self.device)
        return model

    def _start(self, seed: int) -> EmotionModel:
        """The network before it is trained on the corpus."""
        set_seed(seed)
        name = Path(self.args.data).stem
        if self.base is None:
            return new_model(self.args.from_scratch, name, self.corpus.labels).eval()
        return with_new_head(copy.deepcopy(self.base), name, self.corpus.labels).eval()

    def _embeddings(self, model: EmotionModel, seed: int) -> Tensor:
        """All clips' embeddings, (clips, width), 0 for one that was not decoded.

        Without a base the network differs from seed to seed.
        """
        key = seed if self.base is None else 0
        if key not in self._embedded:
            embedded = torch.zeros(len(self.labels), model.width)
            embedded[list(self._waves)] = embed_all(model, list(self._waves.values()), self.device)
            self._embedded[key] = embedded
        return self._embedded[key]


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every label fraction the mean and standard deviation over seeds of each figure, and the confusion matrix.

    The figures of a seed are those of the confusion matrix of all its folds together. The standard deviation is that
    of a sample (n - 1), 0 for a single seed.
    """
    summary = []
    for fraction in dict.fromkeys(run["fraction"] for run in runs):
        folds_of: dict[int, list[list[list[int]]]] = {}
        for run in runs:
            if run["fraction"] == fraction:
                folds_of.setdefault(run["seed"], []).append(run["confusion"])
        by_seed = np.array([np.sum(folds, axis=0) for folds in folds_of.values()])
        figures = [scores(counts) for counts in by_seed]
        row: dict[str, Any] = {"fraction": fraction, "seeds": len(figures)}
        for name in FIGURES:
            values = [of_seed[name] for of_seed in figures]
            row[f"{name}_mean"] = round(statistics.fmean(values), 6)
            row[f"{name}_std"] = round(statistics.stdev(values), 6) if len(values) > 1 else 0.0
        row["confusion"] = by_seed.sum(axis=0).tolist()
        summary.append(row)
    return summary


def table(summary: Sequence[dict[str, Any]]) -> str:
    """``summary`` as a Markdown table."""
    lines = ["| labels | UA | WA | macro-F1 |", "|---|---|---|---|"]
    for row in summary:
        cells = [f"{row[f'{name}_mean']:.3f} ± {row[f'{name}_std']:.3f}" for name in FIGURES]
        lines.append(f"| {row['fraction']:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)
