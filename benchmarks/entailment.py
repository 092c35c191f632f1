#!/usr/bin/env python3
"""Entailment scoring side by side: LanSER and transformers' zero-shot-classification pipeline.

    python benchmarks/entailment.py out/demo/transcripts/*.parquet --threads 2
    python benchmarks/entailment.py lines.txt --model DIR --count 500 --taxonomy goemotions

Texts come from Parquet or TSV files (the column ``text``; of a TSV without a header the last column) or, from any
other file, one per line. LanSER scores all of ``--count`` transcripts as one unit in every round. The pipeline, which
is slower, scores ``--sample`` of them in every round, different ones each time, taken at even steps so that their
lengths are similar. In a round all take turns, with a matrix product before and after, so that a machine that slows
down does so for all. Rates are over all rounds. "without options" is the pipeline as it is by default: one pair at a
time, in the type that the weights are stored in.

Rate: floating-point operations of the real pairs (rows that fill up a batch, and padding, are not counted) per second,
    sum over pairs of  2 * W * L + 4 * L^2 * hidden * layers
with L the pair's tokens and W the weights of the linear layers, without embeddings, pooler and classifier; as a share
of the median rate of torch.matmul (float32, 2048^3) in the same run on the same threads. What LanSER does not compute,
of the last layer and of repeated transcripts, does not count.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ZeroShotClassificationPipeline, pipeline
from transformers.utils.logging import disable_progress_bar

from lanser_ops.backends import BUNDLED
from lanser_ops.labelling import nli
from lanser_ops.labelling.fast_encoder import BERT_LIKE
from lanser_ops.labelling.nli_scorer import load_scorer
from lanser_ops.labelling.weak_labels import sentences
from schemas.taxonomy import DEFAULT_TEMPLATE, load_taxonomy

BATCH_SIZES = (1, 8, 16, 32, 64)
WITHOUT_OPTIONS = "pipeline without options"
OURS = "LanSER"
MATMUL = 2048
HEADS = ("pooler", "classifier", "classification_head")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+", help="Parquet, TSV or one transcript per line")
    parser.add_argument("--model", default=BUNDLED, help="bundled, a directory or a hub id")
    parser.add_argument("--taxonomy", default="goemotions")
    parser.add_argument("--count", type=int, default=500, help="transcripts")
    parser.add_argument("--sample", type=int, default=12, help="transcripts that the pipeline scores per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()

    disable_progress_bar()
    texts = evenly([text for file in args.texts for text in read_texts(file) if text], args.count)
    is_first = [text not in texts[:index] for index, text in enumerate(texts)]
    (labels,) = sentences(load_taxonomy(args.taxonomy), [DEFAULT_TEMPLATE])
    model = nli.resolve(args.model).path
    scorer = load_scorer(model, "cpu", args.threads)
    classify = {dtype: load_pipeline(model, dtype) for dtype in ("auto", torch.float32)}
    cost, cost_of_ours = pair_operations(
        classify[torch.float32].model, classify[torch.float32].tokenizer, texts, labels, scorer.classifier.max_length
    )

    rounds: dict[str, np.ndarray] = {}
    totals: dict[str, np.ndarray] = {}  # pairs, operations, seconds
    matmul: list[float] = []
    largest_difference = 0.0

    def measure(name: str, operations: np.ndarray, run: Callable[[], np.ndarray]) -> np.ndarray:
        start = time.perf_counter()
        scores = run()
        counts = (scores.size, operations.sum(), time.perf_counter() - start)
        totals[name] = totals.get(name, 0) + np.array(counts)
        return scores

    scorer.score(texts[:2], labels)
    torch.set_num_threads(args.threads)
    step = math.ceil(len(texts) / args.sample)
    for turn in range(args.rounds):
        matmul.append(matmul_rate())
        scores = measure(OURS, cost_of_ours[is_first], lambda: scorer.score(texts, labels).entailment)
        torch.set_num_threads(args.threads)  # the scorer leaves them at one
        assert np.array_equal(rounds.setdefault(OURS, scores), scores)
        matmul.append(matmul_rate())
        chosen = slice(turn % step, None, step)
        for name, dtype, size in [
            (WITHOUT_OPTIONS, "auto", 1),
            *((f"pipeline, float32, batch size {size}", torch.float32, size) for size in BATCH_SIZES),
        ]:
            run = partial(zero_shot, classify[dtype], texts[chosen], labels, size)
            expected = measure(name, cost[chosen], run)
            if dtype is torch.float32:
                largest_difference = max(largest_difference, np.abs(expected - scores[chosen]).max())
        matmul.append(matmul_rate())

    print(f"{len(texts)} transcripts ({sum(is_first)} different) x {len(labels)} labels, {args.threads} threads, "
          f"torch {torch.__version__};")  # fmt: skip
    print(f"pipeline: {args.rounds} x {len(texts[::step])} of the transcripts; weights stored as "
          f"{classify['auto'].model.dtype}")  # fmt: skip
    peak = float(np.median(matmul))
    print(f"torch.matmul {MATMUL}^3: {peak / 1e9:.0f} GFLOP/s ({min(matmul) / 1e9:.0f} to {max(matmul) / 1e9:.0f})\n")
    print(f"{'':34} {'pairs/s':>8} {'GFLOP/s':>8} {'of matmul':>9} {'LanSER is':>10}")
    ours_per_s = totals[OURS][0] / totals[OURS][2]
    for name, (pairs, operations, seconds) in totals.items():
        rate = operations / seconds
        print(f"{name:34} {pairs / seconds:8.0f} {rate / 1e9:8.0f} {rate / peak:9.0%} "
              f"{ours_per_s / (pairs / seconds):9.2f}x")  # fmt: skip
    print(f"\nlargest difference from the float32 pipeline's scores: {largest_difference:.1e}")


def evenly(texts: list[str], count: int) -> list[str]:
    """``count`` of ``texts`` at even steps, so that as many of them are repeated as of all."""
    return [texts[index * len(texts) // count] for index in range(count)] if len(texts) > count else texts


def read_texts(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return pq.read_table(file, columns=["text"])["text"].to_pylist()
    lines = file.read_text(encoding="utf-8").splitlines()
    if file.suffix != ".tsv":
        return lines
    rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if "text" in rows[0]:
        return [row[rows[0].index("text")] for row in rows[1:]]
    return [row[-1] for row in rows]


def load_pipeline(model: str, dtype: str | torch.dtype) -> ZeroShotClassificationPipeline:
    return pipeline("zero-shot-classification", model=model, device="cpu", dtype=dtype)


def zero_shot(classify: ZeroShotClassificationPipeline, texts: list[str], labels: list[str], size: int) -> np.ndarray:
    """float32 (texts, labels): the pipeline's scores; ``labels`` are whole hypotheses."""
    answers = classify(texts, labels, hypothesis_template="{}", multi_label=True, batch_size=size)
    by_label = [dict(zip(answer["labels"], answer["scores"], strict=True)) for answer in answers]
    return np.array([[scores[label] for label in labels] for scores in by_label], dtype=np.float32)


def pair_operations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], labels: list[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Floating-point operations of each pair (texts, labels), as defined at the top of this file: all, and LanSER's."""
    config = model.config
    premises, ends = ([len(ids) for ids in tokenizer(part, add_special_tokens=False).input_ids]
                      for part in (texts, labels))  # fmt: skip
    tokens = np.add.outer(premises, ends) + tokenizer.num_special_tokens_to_add(pair=True)
    tokens = np.minimum(tokens, max_length).astype(np.float64)
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(head in name for head in HEADS)
    )
    width, layers = config.hidden_size, config.num_hidden_layers
    complete = 2 * weights * tokens + 4 * tokens**2 * width * layers
    # In the last layer, keys and values are needed for every token, everything else for the first token alone.
    skipped = 2 * (weights / layers - 2 * width**2) * (tokens - 1) + 4 * width * tokens * (tokens - 1)
    return complete, complete - skipped if config.model_type in BERT_LIKE else complete


def matmul_rate() -> float:
    """Floating-point operations per second of the best of five products."""
    left, right = torch.randn(MATMUL, MATMUL), torch.randn(MATMUL, MATMUL)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * MATMUL**3 / min(times)


if __name__ == "__main__":
    main()
