"""Pairs per second, and the share of the chip's matrix rate, of the bundled labeller and of roberta-large's shape.

The operations are those of `benchmarks/entailment.py`, without what fills up a batch; the rate is that of a product of
square matrices in the type that LanSER scores in.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from benchmarks.entailment import pair_operations
from benchmarks.gpu_parts.chip import SCORING_TYPE, matmul_rate, peak_memory, used_memory
from benchmarks.gpu_parts.models import ROBERTA
from benchmarks.gpu_parts.settings import Row, Settings, pace, run_part, significant
from lanser_ops.backends import BUNDLED
from lanser_ops.labelling import nli
from lanser_ops.labelling.nli_scorer import load_scorer
from lanser_ops.labelling.weak_labels import sentences
from schemas.taxonomy import DEFAULT_TEMPLATE, load_taxonomy

SENTENCES = Path(__file__).parents[2] / "examples" / "sentences.tsv"
# Before the sentences, so that none is scored twice.
OPENINGS = ("", "Well, ", "So, ", "Now, ", "Listen, ", "You know, ", "I mean, ", "Look here, ")
TAXONOMY = "goemotions"


def measure(settings: Settings) -> Iterator[Row]:
    sizes, device = settings.sizes, settings.device
    with SENTENCES.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    premises = list(dict.fromkeys(opening + text for opening in OPENINGS for text in texts))[: sizes.premises]
    (hypotheses,) = sentences(load_taxonomy(TAXONOMY), [DEFAULT_TEMPLATE])
    rate = matmul_rate(device, SCORING_TYPE[device], sizes.matmul)
    for name, path in (("MiniLM", nli.resolve(BUNDLED).path), (ROBERTA, str(Path(settings.folder, ROBERTA)))):
        before = used_memory(device)
        scorer = load_scorer(path, device)
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(path))
        tokenizer, max_length = scorer.classifier.tokenizer, scorer.classifier.max_length
        complete, without_last_layer = pair_operations(model, tokenizer, premises, hypotheses, max_length)
        operations = complete if device == "cuda" else without_last_layer  # see `fast_encoder.speed_up`
        for batch_tokens in sizes.batch_tokens:
            sized = replace(scorer, classifier=replace(scorer.classifier, batch_tokens=batch_tokens))
            with peak_memory(device) as peak:
                measured = pace(lambda part, sized=sized: sized.score(part, hypotheses), premises, sizes)
            done = operations[: measured.count].sum() / measured.seconds
            yield {
                "table": "Scoring",
                "model": name,
                "tokens in a batch": batch_tokens,
                "default": "yes" if batch_tokens == scorer.classifier.batch_tokens else "",
                "pairs/s": significant(measured.count * len(hypotheses) / measured.seconds),
                "of the matrix rate, %": round(100 * done / rate, 1),
                "GiB at most": round((peak[0] - before) / 2**30, 2),
            }


if __name__ == "__main__":
    run_part("scoring", measure)
