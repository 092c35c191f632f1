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
from training.blocks import open_blocks
from training.classifier import FitSpec, fit, probabilities
from training.corpora import Corpus, Fold, take_fraction
from training.features import Augment
from training.frozen import fit_frozen, frozen_probabilities, summaries
from training.level import measure_sound
from training.model import EmotionModel, new_model, with_new_head
from training.model_options import ModelOptions

FIGURES = ("ua", "wa", "macro_f1")


class Experiment:
    """What all runs on a corpus share; summaries of a frozen encoder are computed once.

    ``args`` are the options of `lanser finetune`, ``options`` those of them that concern the network, ``waves`` the
    corpus' waveforms, None for one that cannot be decoded. Without ``base`` every run starts from the backbone.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        options: ModelOptions,
        corpus: Corpus,
        base: EmotionModel | None,
        waves: Sequence[np.ndarray | None],
        device: torch.device,
    ):
        self.args, self.options, self.corpus, self.base, self.device = args, options, corpus, base, device
        self.labels = [corpus.labels.index(utterance.label) for utterance in corpus.utterances]
        self._waves = {row: wave for row, wave in enumerate(waves) if wave is not None}
        self._sound = measure_sound(list(self._waves.values()))
        self._summaries: dict[int, dict[int, Tensor]] = {}

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
        predicted = self._probabilities(model, tested, seed).argmax(dim=1).tolist()
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
        if self.options.frozen or not model.is_resnet:
            summaries = self._frozen(model, seed)
            fit_frozen(model, [summaries[row] for row in rows], labels)
        if self.options.frozen:
            return model
        # The head of a pretrained encoder was fitted first: from a random one, the first steps would distort what the
        # encoder knows (Kumar et al. 2022, arXiv 2202.10054).
        open_blocks(model, self.options.blocks)
        spec = FitSpec(
            steps=self.args.steps,
            batch_size=self.args.batch_size,
            peak=self.args.lr or peak_rate(model.is_resnet),
            weight_decay=self.args.weight_decay,
            warmup=self.args.warmup,
            crop_s=self.args.crop_s,
            augment=Augment() if self.args.augment else None,
            bf16=self.args.precision == "bf16",
            layer_decay=self.options.layer_decay,
        )
        fit(model, [self._waves[row] for row in rows], labels, spec, seed, self.device)
        return model

    def _start(self, seed: int) -> EmotionModel:
        """The network before it is trained on the corpus."""
        set_seed(seed)
        name = Path(self.args.data).stem
        if self.base is not None:
            return with_new_head(copy.deepcopy(self.base), name, self.corpus.labels, self._sound.gain_db).eval()
        return new_model(self.options.backbone, name, self.corpus.labels, self.options.pooling, self._sound).eval()

    def _frozen(self, model: EmotionModel, seed: int) -> dict[int, Tensor]:
        """The `summaries` of all clips that were decoded, by row.

        Without a base a ResNet differs from seed to seed.
        """
        key = seed if self.base is None and model.is_resnet else 0
        if key not in self._summaries:
            clips = summaries(model, list(self._waves.values()), self.device, self.options.cache)
            self._summaries[key] = dict(zip(self._waves, clips, strict=True))
        return self._summaries[key]

    def _probabilities(self, model: EmotionModel, rows: Sequence[int], seed: int) -> Tensor:
        """Label probabilities, float32 (clips, labels), of the corpus' ``rows``."""
        if self.options.frozen:
            clips = self._frozen(model, seed)
            return frozen_probabilities(model, [clips[row] for row in rows])
        return probabilities(model, [self._waves[row] for row in rows], self.device)


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
