"""What every option that decides a label does to its agreement with people, as Markdown tables.

    python -m benchmarks.labels --dialogue dialogue_dev.jsonl.gz --goemotions goemotions.dev.jsonl.gz --cache cache

Two sets of texts that people have labelled: the utterances of `benchmarks.dialogue`, half of them neutral, and the
comments of GoEmotions with one label, in Ekman's groups, at most ``--comments`` of them. Every row is one choice of
options; all others are the defaults, whose row comes first in every table. Accuracy, UA and macro-F1 come with 95 %
bootstrap intervals (1,000 samples of whole dialogues, or of comments; the labels stay those of the whole set), and so
does the difference of macro-F1 to the default on the same samples. Where utterances are left out, all figures are of
those that remain. A temperature is no row: it changes no label.

Scores are stored in ``--cache`` as an output directory stores them, so that a repetition runs no model. ``--json``
writes the rows for `benchmarks.figures`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dialogue import half_neutral
from benchmarks.variants import COMMENT_TABLES, DIALOGUE_TABLES, Variant
from lanser_ops.backends import BUNDLED, LABELLERS, backend_of
from lanser_ops.commands.agreement import read_labelled, read_map
from lanser_ops.common.label_scores import margins
from lanser_ops.common.selection import CANDIDATE, SELECTED, select, words_hash
from lanser_ops.labelling.context import score_in_context
from lanser_ops.labelling.score_store import needed_sets, read_scores, write_scores
from lanser_ops.labelling.texts import TextScores
from lanser_ops.labelling.weak_labels import of_labels
from lanser_ops.output.directory import OutputDir
from schemas.metrics import confusion, scores
from schemas.specs import LabelSpec, ShardSpec
from schemas.units import Unit

SAMPLES = 1000
FIGURES = {"wa": "accuracy", "ua": "UA", "macro_f1": "macro-F1"}
UNIT = Unit(index=0, count=1, split="", sources=0, bytes=0)


@dataclass(frozen=True)
class LabelledTexts:
    """``truth`` int (texts,): the index of the label in Ekman's taxonomy. ``group`` int (texts,): what is sampled.

    ``previous`` has the texts before each text that a context may take.
    """

    texts: tuple[str, ...]
    previous: tuple[tuple[str, ...], ...]
    truth: np.ndarray
    group: np.ndarray

    def before(self, context: int) -> list[tuple[str, ...]]:
        """The ``context`` texts before every text."""
        return [texts[len(texts) - min(context, len(texts)) :] for texts in self.previous]


def dialogue_texts(path: Path, spec: LabelSpec) -> LabelledTexts:
    utterances = half_neutral(path)
    names = [label.name for label in spec.taxonomy.labels]
    return LabelledTexts(
        tuple(utterance.text for utterance in utterances),
        tuple(utterance.previous for utterance in utterances),
        np.array([names.index(utterance.label) for utterance in utterances]),
        np.array([utterance.dialogue for utterance in utterances]),
    )


def comment_texts(path: Path, most: int, spec: LabelSpec) -> LabelledTexts:
    """At most ``most`` comments, evenly spread over the file."""
    groups = Path(__file__).parents[1] / "examples" / "goemotions-ekman.yaml"
    labelled = read_labelled(str(path), read_map(str(groups)), spec.taxonomy, context=0)
    count = min(most, len(labelled.texts))
    rows = [len(labelled.texts) * number // count for number in range(count)]
    return LabelledTexts(
        tuple(labelled.texts[row] for row in rows),
        ((),) * count,
        np.array([labelled.truth[row] for row in rows]),
        np.arange(count),
    )


def text_scores(texts: LabelledTexts, cache: Path, spec: LabelSpec, model: str, threads: int) -> TextScores:
    """The scores of ``texts`` for the labels of ``spec``; those that ``cache`` lacks are computed and added."""
    before = texts.before(spec.context)
    premises = [" ".join([*previous, text]) for previous, text in zip(before, texts.texts, strict=True)]
    name = hashlib.sha256("\0".join(premises).encode()).hexdigest()[:16]
    out = OutputDir(str(cache / name))
    rows = ["", *texts.texts]  # the empty text is that of the null prior
    sets = needed_sets(out, spec)
    keys = [str(row) for row in range(len(rows))]
    for score_set in sets:
        if not out.exists(out.scores(score_set, UNIT)):
            labeller = backend_of(LABELLERS, model).load(spec, "cpu", threads)
            part = score_in_context(labeller.score, rows, [(), *before], score_set.hypotheses)
            write_scores(out, out.scores(score_set, UNIT), keys, part.entailment, part.truncated)
    names = [out.scores(score_set, UNIT) for score_set in sets]
    by_hypothesis, truncated = read_scores(out, names, sets, spec, keys)
    by_template = of_labels(by_hypothesis, spec.taxonomy)
    return TextScores(by_template[:, 1:], by_template[:, :1], by_template[:, 1:], truncated[1:])


def remaining(texts: LabelledTexts, ranked: np.ndarray, shards: ShardSpec) -> np.ndarray:
    """Which texts thresholds and selection leave, bool (texts,)."""
    best = zip(map(words_hash, texts.texts), ranked.max(axis=1).tolist(), ranked.argmax(axis=1).tolist(), strict=True)
    candidates = np.array([(row, *candidate) for row, candidate in enumerate(best)], dtype=CANDIDATE)
    passing = (candidates["score"] >= shards.min_score) & (margins(ranked) >= shards.min_margin)
    stays = np.zeros(len(candidates), dtype=bool)
    stays[passing] = select(candidates[passing], shards) == SELECTED
    return stays


def sampled_figures(texts: LabelledTexts, predicted: np.ndarray, stays: np.ndarray, labels: int) -> dict[str, Any]:
    """Each of `FIGURES` of the texts that stay, float64 (1 + SAMPLES,): of the whole set, then of every sample."""
    _, groups = np.unique(texts.group, return_inverse=True)
    cells = np.zeros((groups.max() + 1, labels * labels))
    np.add.at(cells, (groups[stays], texts.truth[stays] * labels + predicted[stays]), 1)
    generator = np.random.default_rng(0)
    draws = generator.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), SAMPLES)
    matrices = [confusion(texts.truth[stays].tolist(), predicted[stays].tolist(), labels)]
    matrices += list((draws @ cells).reshape(-1, labels, labels))
    figures = [scores(matrix) for matrix in matrices]
    return {name: np.array([row[name] for row in figures]) for name in FIGURES}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The figure, and the bounds of its 95 % interval, of an array as `sampled_figures` gives it."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def measured(texts: LabelledTexts, variants: Sequence[Variant], args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per variant, the default first."""
    rows: list[dict[str, Any]] = []
    reference = np.zeros(0)
    for variant in (Variant(), *variants):
        spec, shards = variant.specs(args.nli_model)
        scored = text_scores(texts, args.cache, spec, args.nli_model, args.threads)
        ranked = scored.ranked(spec)
        predicted, stays = ranked.argmax(axis=1), remaining(texts, ranked, shards)
        names = [label.name for label in spec.taxonomy.labels]
        figures = sampled_figures(texts, predicted, stays, len(names))
        reference = figures["macro_f1"] if not rows else reference
        shares = np.bincount(predicted[stays], minlength=len(names)) / stays.sum()
        row = {"name": variant.name, "against": spec.against, "prior": spec.prior, "strength": spec.prior_strength}
        row |= {name: interval(values) for name, values in figures.items()}
        row |= {"difference": interval(figures["macro_f1"] - reference), "kept": float(stays.mean())}
        rows.append(row | {"shares": dict(zip(names, shares.tolist(), strict=True))})
    return rows


def percent(figure: Sequence[float], sign: str = "") -> str:
    value, low, high = (f"{100 * number:{sign}.1f}" for number in figure)
    return f"{value} ({low} to {high})"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n### {title}\n")
    print(f"| options | {' | '.join(FIGURES.values())} | macro-F1 less the default's | neutral | kept |")
    print("|---|---|---|---|---|---|---|")
    for number, row in enumerate(rows):
        figures = [percent(row[name]) for name in FIGURES]
        difference = percent(row["difference"], "+") if number else ""
        name = row["name"] if number else f"**{row['name']}**"
        shares = [f"{row['shares']['neutral']:.0%}", f"{row['kept']:.0%}"]
        print(f"| {' | '.join([name, *figures, difference, *shares])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogue", type=Path, metavar="FILE.jsonl.gz")
    parser.add_argument("--goemotions", type=Path, metavar="FILE.jsonl.gz")
    parser.add_argument("--comments", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--nli-model", default=BUNDLED, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    default, _ = Variant().specs(args.nli_model)
    sets: dict[str, tuple[LabelledTexts, dict[str, list[Variant]]]] = {}
    if args.dialogue:
        sets["dialogue"] = dialogue_texts(args.dialogue, default), DIALOGUE_TABLES
    if args.goemotions:
        sets["GoEmotions"] = comment_texts(args.goemotions, args.comments, default), COMMENT_TABLES
    results: dict[str, dict[str, Any]] = {}
    for name, (texts, tables) in sets.items():
        print(f"\n## {name}: {len(texts.texts)} texts, {default.nli_model.id}")
        people = np.bincount(texts.truth, minlength=len(default.taxonomy.labels)) / len(texts.truth)
        labels = [label.name for label in default.taxonomy.labels]
        results[name] = {"people": dict(zip(labels, people.tolist(), strict=True)), "tables": {}}
        for title, variants in tables.items():
            rows = measured(texts, variants, args)
            results[name]["tables"][title] = rows
            print_table(title, rows)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
