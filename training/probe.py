"""``lanser probe``: what a frozen representation knows of speech, read out by linear heads.

Emotion is classified (UA); mean pitch, pitch range, energy and speaking rate, as Praat measures them, are
regressed (R²). All on speakers that the head was not fitted on, beside the same network before it was trained
and beside the mean and spread of every log-mel band.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from rich.console import Console
from rich.table import Table
from torch import Tensor

from schemas.metrics import confusion, scores
from training.classifier import embed_all, fit_linear
from training.corpora import Corpus, Fold, add_corpus_options, load, make_folds, read_corpus
from training.device import add_device_option, pick_device
from training.errors import InputError, Parser, guarded
from training.features import LogMel
from training.model import load_model, new_model
from training.prosody import Prosody, measure

QUALITIES = tuple(field.name for field in fields(Prosody))
EMOTION = "emotion"
# L2 penalty of the regressions, on standardised inputs and a mean squared error.
PENALTY = 1e-2
STATISTICS = "log-mel statistics"


def run(argv: Sequence[str] | None = None) -> None:
    """Parse ``argv``, fit the heads, print a table; raises InputError for what the user has to mend."""
    made = Parser("lanser probe", description="What a frozen representation knows: emotion, pitch, energy, rate.")
    made.add_argument("--checkpoint", nargs="+", required=True, metavar="RUN", help="what lanser pretrain wrote")
    add_corpus_options(made)
    made.add_argument("--output", type=Path, metavar="DIR", help="where probe.json goes; default: nowhere")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the untrained networks")
    add_device_option(made)
    made.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    args = made.parse_args(argv)
    device = pick_device(args.device)
    corpus = read_corpus(args.data, args.root, args.labels)
    folds = make_folds(corpus, args.folds)
    checkpoints = {name: load_model(name) for name in args.checkpoint}
    waves, _ = load(corpus)
    rows = [row for row, wave in enumerate(waves) if wave is not None]
    heard = [waves[row] for row in rows]
    measured = measure_all(heard)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, inputs in representations(checkpoints, heard, args.seeds, device):
        found = read_out(inputs, rows, corpus, folds, measured)
        results.setdefault(name, {quality: [] for quality in found})
        for quality, value in found.items():
            results[name][quality].append(value)
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
        told = {"clips": len(rows), "without_voice": sum(one is None for one in measured), "representations": summary}
        (args.output / "probe.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def measure_all(waves: Sequence[np.ndarray]) -> list[Prosody | None]:
    """`measure` of every clip; Praat holds Python's lock, so in processes."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(measure, waves, chunksize=16))


def representations(
    checkpoints: dict, waves: Sequence[np.ndarray], seeds: Sequence[int], device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """(name, float32 (clips, width)); an untrained network comes once a seed, under one name."""
    yield STATISTICS, statistics_of(waves)
    for spec in dict.fromkeys(model.spec.backbone for model in checkpoints.values()):
        for seed in seeds:
            set_seed(seed)
            yield f"{spec}, untrained", embed_all(new_model(spec, "none", ("a", "b")), waves, device)
    for name, model in checkpoints.items():
        yield name, embed_all(model, waves, device)


@torch.inference_mode()
def statistics_of(waves: Sequence[np.ndarray]) -> Tensor:
    """Mean and standard deviation over time of every log-mel band, float32 (clips, 2 * bands)."""
    log_mel = LogMel()
    found = []
    for wave in waves:
        bands = log_mel.log_mel(torch.from_numpy(wave)[None])[0]
        found.append(torch.cat([bands.mean(dim=1), bands.std(dim=1, correction=0)]))
    return torch.stack(found)


def read_out(
    inputs: Tensor, rows: Sequence[int], corpus: Corpus, folds: Sequence[Fold], measured: Sequence[Prosody | None]
) -> dict[str, float]:
    """UA of emotion and R² of every quality, of linear heads on ``inputs`` (clips, width) over all folds together.

    ``rows`` says which row of the corpus each clip is. A head never sees a speaker that it is tested on.
    """
    place = {row: number for number, row in enumerate(rows)}
    labels = torch.tensor([corpus.labels.index(corpus.utterances[row].label) for row in rows])
    voiced = torch.tensor([one is not None for one in measured])
    values = torch.tensor([astuple(one) if one else (0.0,) * len(QUALITIES) for one in measured], dtype=torch.float64)
    picked = torch.full((len(rows),), -1)
    errors, spreads = torch.zeros(2, len(QUALITIES), dtype=torch.float64)
    for fold in folds:
        train, test = (torch.tensor([place[row] for row in part if row in place]) for part in (fold.train, fold.test))
        if not len(train) or not len(test):
            raise InputError("a fold without clips to fit on or to test on; give --folds, or more speakers")
        head = fit_linear(inputs[train], labels[train].tolist(), len(corpus.labels))
        with torch.inference_mode():
            picked[test] = head(inputs[test]).argmax(dim=1)
        train, test = train[voiced[train]], test[voiced[test]]
        predicted = ridge(inputs[train].double(), values[train], inputs[test].double())
        errors += (values[test] - predicted).square().sum(dim=0)
        spreads += (values[test] - values[test].mean(dim=0)).square().sum(dim=0)
    tested = picked >= 0
    counts = confusion(labels[tested].tolist(), picked[tested].tolist(), len(corpus.labels))
    explained = torch.where(spreads > 0, 1 - errors / spreads, 0.0)  # where nothing varies, nothing is explained
    return {EMOTION: scores(counts)["ua"], **dict(zip(QUALITIES, explained.tolist(), strict=True))}


def ridge(inputs: Tensor, targets: Tensor, unseen: Tensor) -> Tensor:
    """Predictions for ``unseen`` (clips, width) of linear regressions of ``targets`` (clips, values) on ``inputs``."""
    mean, std = inputs.mean(dim=0), inputs.std(dim=0, correction=0) + 1e-6
    middle = targets.mean(dim=0)
    scaled = (inputs - mean) / std
    gram = scaled.T @ scaled / len(scaled) + PENALTY * torch.eye(scaled.shape[1], dtype=scaled.dtype)
    weights = torch.linalg.solve(gram, scaled.T @ (targets - middle) / len(scaled))
    return (unseen - mean) / std @ weights + middle


def _print(summary: dict[str, dict[str, dict[str, float]]]) -> None:
    made = Table(box=None, pad_edge=False)
    made.add_column("representation")
    made.add_column("emotion, UA", justify="right")
    for quality in QUALITIES:
        made.add_column(f"{quality.replace('_', ' ')}, R²", justify="right")
    for name, by_quality in summary.items():
        cells = (f"{one['mean']:.3f}" + (f" ± {one['std']:.3f}" if one["std"] else "") for one in by_quality.values())
        made.add_row(name, *cells)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(made)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "probe")


if __name__ == "__main__":
    raise SystemExit(main())
