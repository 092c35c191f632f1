"""Which layers of the bundled Whisper to read, and how to pool them: UA of heads on the frozen encoder, on RAVDESS.

    python -m benchmarks.backbones RAVDESS_FOLDER --cache out/features

With -m, since as a script it would import benchmarks/training.py as the package training.

Speakers of the first EmoBox fold are left out, so that figures on that fold's speakers were not chosen on them; the
other five folds take turns as the test set. The figures of 10 % are the mean of two samples of the labels.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from schemas.metrics import confusion, scores
from training.backbones import WHISPER, PoolingSpec
from training.corpora.folds import make_folds, take_fraction
from training.corpora.read import load, read_corpus
from training.corpora.utterance import Corpus
from training.frozen import fit_frozen, frozen_probabilities, summaries
from training.level import measure_sound
from training.model import EmotionModel, new_model

SPECS = [
    PoolingSpec("weighted", "meanstd"),
    PoolingSpec("weighted", "mean"),
    PoolingSpec("last", "meanstd"),
    PoolingSpec("last", "mean"),
    PoolingSpec(3, "meanstd"),
    PoolingSpec(3, "mean"),
    PoolingSpec(2, "meanstd"),
    PoolingSpec(2, "mean"),
    PoolingSpec(1, "meanstd"),
    PoolingSpec(0, "meanstd"),
]
SHARES = {0.1: (0, 1), 0.25: (0,), 1.0: (0,)}  # of the labels, and the seeds that choose them


def ua(corpus: Corpus, model: EmotionModel, clips: list[Tensor], share: float, seed: int) -> float:
    """Unweighted accuracy in % over all but the first fold, each tested by a head that was fitted to the others."""
    labels = [corpus.labels.index(utterance.label) for utterance in corpus.utterances]
    tested, *folds = (fold.test for fold in make_folds(corpus, "emobox"))
    counts = np.zeros((len(corpus.labels),) * 2, int)
    for test in folds:
        train = [row for row in range(len(labels)) if row not in {*tested, *test}]
        rows = take_fraction(train, labels, share, seed)
        set_seed(seed)
        fit_frozen(model, [clips[row] for row in rows], [labels[row] for row in rows])
        predicted = frozen_probabilities(model, [clips[row] for row in test]).argmax(dim=1).tolist()
        counts += confusion([labels[row] for row in test], predicted, len(corpus.labels))
    return 100 * scores(counts)["ua"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", help="folder of RAVDESS")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features")
    args = parser.parse_args()
    corpus = read_corpus("ravdess", args.ravdess, None)
    waves = [wave for _, wave in sorted(load(corpus)[0].items())]
    sound, cpu = measure_sound(waves), torch.device("cpu")
    complete = PoolingSpec("weighted", "meanstd")  # of which all others are a part
    everything = summaries(new_model(WHISPER, "ravdess", corpus.labels, complete, sound), waves, cpu, args.cache)
    print("| `--layers` | `--pooling` | 10 % | 25 % | 100 % |\n|---|---|---|---|---|")
    for spec in SPECS:
        model = new_model(WHISPER, "ravdess", corpus.labels, spec, sound)
        size = model.pooling.centre.shape[1]
        clips = [clip[:, list(model.layers), :size] for clip in everything]
        cells = [
            f"{statistics.fmean(ua(corpus, model, clips, share, seed) for seed in seeds):.1f}"
            for share, seeds in SHARES.items()
        ]
        print(f"| {spec.layers} | {spec.pooling} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
