"""What to worry about in a corpus of weak labels, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lanser_ops.output.statistics import UNKNOWN
from lanser_ops.report.clips import Clips
from lanser_ops.report.survey import Survey

# Shares from which a concern is worth a line.
MAJORITY = 0.8
REJECTED = 0.2
REPEATED = 0.1
FOREIGN = 0.05
CLIPPED = 0.05
# Below so many samples a validation score is chance.
FEW_VAL = 10
# Rejects that an option has asked for.
CHOSEN = ("low_score", "low_margin", "disagreement", "not_selected", "duplicate", "too_short")


@dataclass(frozen=True)
class Concern:
    """One line of what is wrong, and one of what to do. ``name`` is fixed, for tests and links."""

    name: str
    finding: str
    advice: str


def concerns_of_corpus(statistics: dict[str, Any], clips: Clips) -> list[Concern]:
    """Concerns that do not depend on a taxonomy."""
    concerns = []
    rejects = {reason: count for reason, count in statistics["rejects"].items() if reason not in CHOSEN}
    rejected = sum(rejects.values())
    if rejected > REJECTED * statistics["utterances"]:
        worst = ", ".join(
            f"{reason} {count:,}" for reason, count in sorted(rejects.items(), key=lambda row: -row[1])[:3]
        )
        concerns.append(
            Concern(
                "rejects",
                f"{rejected / statistics['utterances']:.1%} of the utterances are rejected ({worst}).",
                "Listen to the examples under Rejects: is it the recordings, or an option that is too strict?",
            )
        )
    foreign = _foreign(statistics)
    if foreign > FOREIGN * statistics["utterances"]:
        concerns.append(
            Concern(
                "language",
                f"{foreign / statistics['utterances']:.1%} of the utterances are not in the corpus's main language.",
                "The labeller may not know it. `--language` leaves other languages out.",
            )
        )
    if clips.clipped > CLIPPED * len(clips.audio):
        concerns.append(
            Concern(
                "clipping",
                f"{clips.clipped:,} of the {len(clips.audio):,} clips on this page are clipped at full scale.",
                "Look for the same recordings at a lower level: clipping cannot be undone.",
            )
        )
    return concerns


def concerns_of_labels(statistics: dict[str, Any], labels: list[str], strength: float, survey: Survey) -> list[Concern]:
    """Concerns about one taxonomy, whose labels are ``labels`` and whose prior has ``strength``."""
    concerns = []
    total = sum(statistics["labels"].values())
    label, count = next(iter(statistics["labels"].items()))
    if count > MAJORITY * total:
        concerns.append(
            Concern(
                "majority",
                f"{count / total:.1%} of the samples are labelled {label}.",
                f"A model learns little from one label. Try a larger `--prior-strength` (it was {strength}), other "
                "hypotheses, or a stronger labeller; `lanser try` shows their scores.",
            )
        )
    if absent := [name for name in labels if name not in statistics["labels"]]:
        concerns.append(
            Concern(
                "absent",
                f"No sample is labelled {', '.join(absent)}.",
                "Check the hypotheses with `lanser try`, or leave these labels out of the taxonomy.",
            )
        )
    val = statistics["splits"].get("val", 0)
    if val < FEW_VAL:
        samples = {0: "no sample", 1: "one sample"}.get(val, f"{val} samples")
        concerns.append(
            Concern("val", f"The val split has {samples}.", "Validation scores mean nothing; raise `--val-fraction`.")
        )
    if survey.repeats > REPEATED * survey.samples:
        concerns.append(
            Concern(
                "repeats",
                f"{survey.repeats / survey.samples:.1%} of the samples read have the words of another one.",
                "Acted corpora repeat their sentences; elsewhere the recogniser may have invented them. "
                "`--max-repeats` bounds how often the same words are used.",
            )
        )
    return concerns


def _foreign(statistics: dict[str, Any]) -> int:
    """Utterances that were rejected for their language, or are in another one than most."""
    counts = [count for code, count in statistics.get("languages", {}).items() if code != UNKNOWN]
    return statistics["rejects"].get("language", 0) + sum(counts[1:])
