"""Fine-tuning in speaker-independent folds, and the figures of many such runs."""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from lanser_ops.common.errors import InputError
from schemas.metrics import FIGURES, confusion, scores
from training.backbones import RESNETS, peak_rate
from training.blocks import open_blocks
from training.classifier import FitSpec, fit, probabilities
from training.corpora.folds import VAL_SHARE, Fold, hold_out, take_fraction
from training.corpora.utterance import Corpus, clip_names
from training.early_stopping import EarlyStopping
from training.features import Augment
from training.frozen import fit_frozen, frozen_probabilities, summaries
from training.level import measure_sound
from training.model import EmotionModel, new_model, with_new_head
from training.model_options import ModelOptions
from training.predictions import Prediction, predict_label
from training.progress import StepProgress
from training.statistics import intervals

# Called with the steps of a run that are done, and the loss of the last one if it has any.
StepReport = Callable[[int, float | None], None]


@dataclass(frozen=True)
class Trained:
    """A trained model, the step that its weights are of, and the clips that it was validated on."""

    model: EmotionModel
    step: int
    val_clips: int


class Experiment:
    """What all runs on a corpus share; summaries of a frozen encoder are computed once.

    ``args`` are the options of `lanser finetune`, ``options`` those of them that concern the network, ``waves`` the
    corpus' waveforms by row, without those that cannot be decoded. Without ``base`` every run starts from the backbone.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        options: ModelOptions,
        corpus: Corpus,
        base: EmotionModel | None,
        waves: Mapping[int, np.ndarray],
        device: torch.device,
    ):
        self.args, self.options, self.corpus, self.device = args, options, corpus, device
        self.labels = [corpus.labels.index(utterance.label) for utterance in corpus.utterances]
        # The head of a frozen encoder is fitted to its optimum, so there is nothing to stop early.
        self.steps = 1 if options.frozen else args.steps
        self._clips = clip_names(corpus)
        self._waves = waves
        self._sound = measure_sound(list(waves.values()))
        self._summaries: dict[int, dict[int, Tensor]] = {}
        if base is None and options.backbone not in RESNETS:  # read once, it is the same for every run
            base = self._new_model(args.seeds[0])
        self.base = base

    def decoded(self, rows: Sequence[int]) -> list[int]:
        """Those of ``rows`` that could be decoded."""
        return [row for row in rows if row in self._waves]

    def evaluate(
        self, fold: Fold, number: int, fraction: float, seed: int, report: StepReport
    ) -> tuple[dict[str, Any], list[Prediction]]:
        """Train on a share of the fold's training rows; returns figures on its test rows, and the predictions."""
        rows = take_fraction(self.decoded(fold.train), self.labels, fraction, seed)
        tested = self.decoded(fold.test)
        if not rows or not tested:
            raise InputError(
                f"fold {number} has {len(rows)} clips to train on and {len(tested)} to test on; give --folds, or more "
                "speakers"
            )
        trained = self.train(rows, self.decoded(fold.val), seed, report)
        values = self._probabilities(trained.model, tested, seed).tolist()
        predictions = []
        for row, by_class in zip(tested, values, strict=True):
            utterance = self.corpus.utterances[row]
            label, by_label = predict_label(by_class, self.corpus.labels)
            clip = self._clips[row]
            predictions.append(
                Prediction(fraction, seed, number, clip, utterance.group, utterance.label, label, by_label)
            )
        predicted = [self.corpus.labels.index(row.predicted) for row in predictions]
        counts = confusion([self.labels[row] for row in tested], predicted, len(self.corpus.labels))
        figures = scores(counts)
        return {
            "fraction": fraction, "seed": seed, "fold": number, "train_clips": len(rows),
            "val_clips": trained.val_clips, "test_clips": len(tested), "step": trained.step,
            **{name: round(figures[name], 6) for name in FIGURES}, "confusion": counts.tolist(),
        }, predictions  # fmt: skip

    def train(self, rows: Sequence[int], val: Sequence[int], seed: int, report: StepReport) -> Trained:
        """A model trained on ``rows``, stopped early by ``val`` or else by some of the speakers of ``rows``.

        All rows were decoded. ``report`` is called after every step.
        """
        model = self._start(seed)
        if self.options.frozen:
            self._fit_head(model, rows, seed)
            report(1, None)
            return Trained(model, 1, 0)
        val_rows = list(val)
        if not val_rows:
            rows, val_rows = hold_out(self.corpus, rows, self._val_share(rows), seed)
        if not model.is_resnet:
            # From a random head, the first steps would distort what a pretrained encoder knows (Kumar et al. 2022,
            # arXiv 2202.10054).
            self._fit_head(model, rows, seed)
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
        waves, val_waves = ([self._waves[row] for row in part] for part in (rows, val_rows))
        stopping = None
        if val_rows:
            val_labels = [self.labels[row] for row in val_rows]
            stopping = EarlyStopping(model, val_waves, val_labels, spec.steps, self.args.patience, self.device)
            if not model.is_resnet:  # the head alone may be better than what follows
                stopping.after_step(0)

        def after_step(step: int, loss: float) -> bool:
            report(step, loss)
            return stopping is not None and stopping.after_step(step)

        fit(model, waves, [self.labels[row] for row in rows], spec, seed, self.device, after_step)
        if stopping is None:
            return Trained(model, spec.steps, 0)
        stopping.restore()
        return Trained(model, stopping.best_step, len(val_rows))

    def _fit_head(self, model: EmotionModel, rows: Sequence[int], seed: int) -> None:
        by_row = self._frozen(model, seed)
        fit_frozen(model, [by_row[row] for row in rows], [self.labels[row] for row in rows])

    def _val_share(self, rows: Sequence[int]) -> float:
        """The share of the speakers of ``rows`` to validate on; by default none if there are too few speakers."""
        if self.args.val_share is not None:
            return self.args.val_share
        return VAL_SHARE if len({self.corpus.utterances[row].group for row in rows} - {None}) > 1 else 0.0

    def _start(self, seed: int) -> EmotionModel:
        """The network before it is trained on the corpus."""
        if self.base is None:
            return self._new_model(seed)
        set_seed(seed)
        name = Path(self.args.data).stem
        return with_new_head(copy.deepcopy(self.base), name, self.corpus.labels, self._sound.gain_db).eval()

    def _new_model(self, seed: int) -> EmotionModel:
        set_seed(seed)
        name = Path(self.args.data).stem
        return new_model(self.options.backbone, name, self.corpus.labels, self.options.pooling, self._sound).eval()

    def _frozen(self, model: EmotionModel, seed: int) -> dict[int, Tensor]:
        """The `summaries` of all clips that were decoded, by row.

        Without a base the network differs from seed to seed.
        """
        key = seed if self.base is None else 0
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


def run_all(
    experiment: Experiment,
    plan: Sequence[tuple[Fold, int, float, int]],
    accelerator: Accelerator,
    progress: StepProgress,
) -> tuple[list[dict[str, Any]], list[Prediction]]:
    """The figures and predictions of every (fold, number, fraction, seed) of ``plan``, logged by ``accelerator``."""
    runs, predictions = [], []
    for position, (fold, number, fraction, seed) in enumerate(plan):
        name, done = f"{fraction:.0%} of the labels, seed {seed}, fold {number}", position * experiment.steps

        def report(step: int, loss: float | None, name: str = name, done: int = done) -> None:
            progress.update(done + step, name if loss is None else f"{name}, loss {loss:.3f}")
            if loss is not None:
                accelerator.log({"loss": loss}, step=done + step)

        figures, rows = experiment.evaluate(fold, number, fraction, seed, report)
        done += experiment.steps
        progress.update(done, name)  # a run that was stopped early is done, too
        progress.note(f"{name}: {figures['train_clips']} clips, UA {figures['ua']:.3f}, WA {figures['wa']:.3f}")
        accelerator.log({figure: figures[figure] for figure in (*FIGURES, "fraction", "seed", "fold")}, step=done)
        runs.append(figures)
        predictions += rows
    return runs, predictions


def summarise(runs: Sequence[dict[str, Any]], predictions: Sequence[Prediction] = ()) -> list[dict[str, Any]]:
    """For every label fraction the mean and standard deviation over seeds of each figure, and the confusion matrix.

    The figures of a seed are those of the confusion matrix of all its folds together. The standard deviation is that
    of a sample (n - 1), 0 for a single seed. With ``predictions`` of the runs there is the interval of UA, too.
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
        if predictions:
            interval = intervals([row for row in predictions if row.fraction == fraction])["ua"]
            row["ua_interval"] = [interval.low, interval.high]
        summary.append(row)
    return summary


def table(summary: Sequence[dict[str, Any]]) -> str:
    """``summary``, with intervals, as a Markdown table."""
    lines = ["| labels | UA | 95 % interval of UA | WA | macro-F1 |", "|---|---|---|---|---|"]
    for row in summary:
        ua, *others = (f"{row[f'{name}_mean']:.3f} ± {row[f'{name}_std']:.3f}" for name in FIGURES)
        low, high = row["ua_interval"]
        interval = "-" if low is None else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {row['fraction']:.0%} | {' | '.join([ua, interval, *others])} |")
    return "\n".join(lines)
