"""report.html: one file with its styles, script, charts and audio, which asks for nothing from a network."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lanser_ops.output.directory import OutputDir
from lanser_ops.output.statistics import UNKNOWN
from lanser_ops.output.summary import statistics_by_taxonomy
from lanser_ops.report import charts, clips, survey
from lanser_ops.report.card import label_origin, origin, sharded_taxonomies
from lanser_ops.report.clips import Clips
from lanser_ops.report.concerns import concerns_of_corpus, concerns_of_labels
from lanser_ops.report.rejects import read_audio, reject_examples
from lanser_ops.report.survey import KINDS, Sample, Survey
from lanser_ops.report.templates import asset, fill
from schemas.records import REASONS, Reject

# Longer transcripts are cut for display, and scores below the best few are left out.
MAX_CHARACTERS = 2000
SHOWN_SCORES = 5
# Labels with a chart, the most frequent first: a page has room for so many.
MAX_CHARTS = 60
# Of charts, in inches; one inch is about 96 pixels.
SMALL, WIDE = (2.1, 0.5), (4.6, 1.1)


def render(out: OutputDir, content: dict[str, Any], mark: str) -> str:
    """The page of an output directory with the given dataset.json."""
    by_name = statistics_by_taxonomy(content)
    surveys = [survey.survey(out, name, list(by_name[name]["labels"])) for name in sharded_taxonomies(content)]
    rejects = reject_examples(out)
    audio = _clips(out, content, surveys, rejects)
    statistics = next(iter(by_name.values()))
    style, script = asset("report.css"), asset("report.js")
    return fill(
        "report.html",
        mark=mark,
        title=posixpath.basename(out.root.rstrip("/")) or "output",
        style=style,
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        statistics=statistics,
        concerns=concerns_of_corpus(statistics, audio),
        taxonomies=[_taxonomy(content, by_name[part.taxonomy], part) for part in surveys],
        labelled={name: entry for name, entry in by_name.items() if name and not entry["samples"]},
        flows=[flow(surveys[0], other) for other in surveys[1:]],
        rejects=_rejects(by_name, rejects),
        reasons=REASONS,
        languages={code: count for code, count in statistics.get("languages", {}).items() if code != UNKNOWN},
        origin=origin(content),
        timings=_timings(by_name),
        schema_version=content["schema_version"],
        audio=audio,
        max_seconds=clips.MAX_SECONDS,
        max_characters=MAX_CHARACTERS,
    )


def _clips(out: OutputDir, content: dict[str, Any], surveys: list[Survey], rejects: dict[str, list[Reject]]) -> Clips:
    """The audio of all examples. Kinds take turns, so that what there is no room for is spread over them."""
    audio = Clips()
    for key, samples in read_audio(out, content, [reject for group in rejects.values() for reject in group]):
        audio.add(key, samples)
    columns = [members for part in surveys for members in part.examples.values()]
    turns = {sample.key: sample for row in range(max(map(len, columns), default=0)) for sample in _row(columns, row)}
    for key, samples in clips.read_flac(turns.values()):
        audio.add(key, samples)
    return audio


def _row(columns: list[list[Sample]], row: int) -> list[Sample]:
    return [column[row] for column in columns if row < len(column)]


def _taxonomy(content: dict[str, Any], statistics: dict[str, Any], part: Survey) -> dict[str, Any]:
    """What the template shows of one taxonomy."""
    entry = content["taxonomies"][part.taxonomy]
    label = entry["label"]
    names = [each["name"] for each in label["taxonomy"]]
    total = sum(statistics["labels"].values())
    most = max(statistics["labels"].values())
    widest = max((float(np.quantile(margins, 0.99)) for margins in part.margins.values()), default=1.0)
    rows = [
        {
            "name": name,
            "count": count,
            "share": count / total,
            "bar": count / most,
            "hours": statistics.get("label_hours", {}).get(name),
            "charts": _charts(part, name, _rounded_up(widest)) if position < MAX_CHARTS else None,
        }
        for position, (name, count) in enumerate(statistics["labels"].items())
    ]
    duration = _rounded_up(max(part.durations, default=1.0))
    return {
        "name": part.taxonomy,
        "statistics": statistics,
        "survey": part,
        "concerns": concerns_of_labels(statistics, names, label["prior_strength"], part),
        "labels": rows,
        "durations": charts.histogram(part.durations, (0.0, duration), "Durations in seconds", WIDE, 40),
        "samples": _samples(part),
        "kinds": [kind for kind in KINDS if part.examples.get(kind)],
        "templates": label["templates"],
        "origin": label_origin(entry),
    }


def _charts(part: Survey, label: str, widest: float) -> dict[str, Any]:
    scores, margins = part.scores.get(label, []), part.margins.get(label, [])
    return {
        "scores": charts.histogram(scores, (0.0, 1.0), f"Scores of {label}: {_median(scores)}", SMALL),
        "margins": charts.histogram(margins, (0.0, widest), f"Margins of {label}: {_median(margins)}", SMALL),
    }


def _median(values: Sequence[float]) -> str:
    return f"median {np.median(values):.2f}" if len(values) else "none read"


def _rounded_up(value: float) -> float:
    """``value`` rounded up to one digit, for the end of an axis."""
    step = 10.0 ** np.floor(np.log10(max(value, 1e-3)))
    return float(np.ceil(value / step) * step)


def _samples(part: Survey) -> list[dict[str, Any]]:
    """Each example once, with all of its kinds; the least certain first."""
    kinds: dict[str, list[str]] = {}
    by_key: dict[str, Sample] = {}
    for kind, members in part.examples.items():
        for sample in members:
            kinds.setdefault(sample.key, []).append(kind)
            by_key[sample.key] = sample
    ordered = sorted(by_key.values(), key=lambda sample: (sample.margin, sample.key))
    return [
        {
            "sample": sample,
            "kinds": kinds[sample.key],
            "text": shortened(sample.text),
            "scores": sorted(sample.scores.items(), key=lambda row: -row[1])[:SHOWN_SCORES],
            "picks": Counter(sample.picks).most_common() if len(set(sample.picks)) > 1 else [],
        }
        for sample in ordered
    ]


def shortened(text: str) -> str:
    """The first MAX_CHARACTERS of ``text``, and how many there are."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}… ({len(text):,} characters)"


def flow(before: Survey, after: Survey) -> dict[str, Any]:
    """How many samples of each label of ``before`` have each label of ``after``, of those that both surveys read."""
    counts = Counter((label, after.label_of[key]) for key, label in before.label_of.items() if key in after.label_of)
    columns = [label for label in after.labels if any(counts[row, label] for row in before.labels)]
    rows = [
        {
            "label": row,
            "counts": [counts[row, label] for label in columns],
            "total": sum(counts[row, c] for c in columns),
        }
        for row in before.labels
    ]
    return {"before": before.taxonomy, "after": after.taxonomy, "columns": columns, "rows": rows}


def _rejects(by_name: dict[str, dict[str, Any]], examples: dict[str, list[Reject]]) -> list[dict[str, Any]]:
    """Reasons with their counts in every taxonomy (equal where it does not matter), the most frequent first."""
    reasons = {reason for statistics in by_name.values() for reason in statistics["rejects"]}
    rows = [
        {
            "reason": reason,
            "count": max(statistics["rejects"].get(reason, 0) for statistics in by_name.values()),
            "examples": examples.get(reason, []),
        }
        for reason in reasons
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["reason"]))


def _timings(by_name: dict[str, dict[str, Any]]) -> list[tuple[str, float]]:
    """(stage, seconds), the stage with its taxonomy where there are several."""
    return [
        (f"{name}: {stage}" if len(by_name) > 1 else stage, seconds)
        for name, statistics in by_name.items()
        for stage, seconds in statistics["seconds"].items()
        if seconds
    ]
