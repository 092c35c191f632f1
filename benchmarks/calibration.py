#!/usr/bin/env python3
"""What calibrating with a few hundred labels gains on dialogue that people have labelled.

    python benchmarks/calibration.py dialogue_dev.jsonl.gz out/calibration --dialogues 160 --seeds 6

The JSON lines are those that benchmarks/dialogue.py reads. Their texts are built into shards as a manifest with
transcripts, so nothing is recognised; the audio, which nothing here listens to, is a tone. For every seed ``lanser
sample`` draws the rows, the human labels of the file are filled in, ``lanser calibrate`` fits, and both settings label
the utterances that were not drawn. With ``--half``, as many utterances without an emotion are taken as with one.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from lanser_ops import cli
from lanser_ops.common.label_scores import log_prior
from lanser_ops.labelling.calibration import LabelledRows, Values, agreement, confidence, predicted, ranked
from lanser_ops.shards.labelled import LabelledSample, read_labelled_samples
from schemas.calibration import parse_calibration
from schemas.records import utterance_key
from schemas.specs import LabelSpec

EKMAN = {"no_emotion": "neutral", "happiness": "joy"}
RATE, TURN_S = 16000, 0.4
DEFAULT = Values(LabelSpec.prior_strength, LabelSpec.neutral_threshold, LabelSpec.temperature)
SETTINGS = {
    "for macro-F1": (),
    "for macro-F1, --accept-all": ("--accept-all",),
    "for WA": ("--objective", "wa"),
}
# What is printed, and its unit: percent, or nats.
FIGURES = {"macro_f1": 100, "wa": 100, "ua": 100, "log_loss": 1, "calibration_error": 100}


def read_rows(path: Path, half: bool) -> list[dict]:
    """The utterances of the file, their labels renamed to Ekman's."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    rows = [row | {"label": EKMAN.get(row["label"], row["label"])} for row in rows]
    if not half:
        return rows
    emotional = [row for row in rows if row["label"] != "neutral"]
    neutral = [row for row in rows if row["label"] == "neutral"]
    return emotional + [neutral[len(neutral) * number // len(emotional)] for number in range(len(emotional))]


def span(row: dict) -> tuple[float, float]:
    """Start and end of the turn in the recording of its dialogue, seconds."""
    return round(row["turn"] * TURN_S, 3), round((row["turn"] + 1) * TURN_S, 3)


def key_of(row: dict) -> str:
    return utterance_key(f"audio/{row['dialogue']}.flac", *span(row))


def build(rows: list[dict], work: Path) -> None:
    """Shards of the texts, one recording per dialogue in which every turn has its place."""
    if (work / "out" / "report.html").exists():
        return
    (work / "audio").mkdir(parents=True, exist_ok=True)
    tone = (0.1 * np.sin(np.arange(int(RATE * TURN_S)) / 20)).astype(np.float32)
    turns: dict[int, int] = {}
    for row in rows:
        turns[row["dialogue"]] = max(turns.get(row["dialogue"], 0), row["turn"] + 1)
    for dialogue, count in turns.items():
        soundfile.write(work / "audio" / f"{dialogue}.flac", np.tile(tone, count), RATE)
    with (work / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "start_s", "end_s", "text"))
        for row in rows:
            writer.writerow((f"audio/{row['dialogue']}.flac", *span(row), row["text"]))
    options = ["--input", work / "manifest.csv", "--output", work / "out", "--taxonomy", "ekman", "--num-shards", 8]
    if cli.main(["build", *map(str, options)]):
        raise SystemExit("the build failed")


def evaluation_rows(samples: Sequence[LabelledSample], truth_of: dict[str, int], weight: np.ndarray) -> LabelledRows:
    """All utterances with the labels of the file, each counted ``weight`` times."""
    entailment = np.stack([sample.entailment for sample in samples])
    return LabelledRows(
        entailment=entailment,
        truth=np.array([truth_of[sample.key] for sample in samples]),
        weight=weight,
        stratum=np.zeros(len(samples), np.int64),
        prior=log_prior(entailment),
        absence=None,
    )


def label_by_hand(drawn: Path, labelled: Path, name_of: dict[str, str]) -> set[str]:
    """Fill in the column of the people; the keys of the rows."""
    with drawn.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with labelled.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row | {"human": name_of[row["key"]]} for row in rows)
    return {row["key"] for row in rows}


def run(*argv: str | Path | int) -> None:
    """Run ``lanser …`` without its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        if cli.main(list(map(str, argv))):
            raise SystemExit(f"lanser {argv[0]} failed")


def figures(rows: LabelledRows, values: Values) -> dict[str, float]:
    labels, scores = predicted(rows, values), ranked(rows, values)
    return agreement(rows, labels, rows.weight) | confidence(rows, scores, labels, rows.weight)


def draw_pictures(
    path: Path, results: dict[str, list[tuple[dict[str, float], dict[str, float]]]], rows: LabelledRows, values: Values
) -> None:
    """Left: macro-F1 of every seed before and after; right: how often a label of some score is correct."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lanser"
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for column, pairs in enumerate(results.values()):
        for before, after in pairs:
            left.plot(
                (2 * column, 2 * column + 1), (100 * before["macro_f1"], 100 * after["macro_f1"]), ".-", color="C0"
            )
    left.set_xticks([2 * column + 0.5 for column in range(len(results))], results)
    left.set_ylabel("macro-F1 of the rest, before and after, %")
    right.plot((0, 1), (0, 1), color="0.7", linewidth=1)
    for name, setting in (("default", DEFAULT), ("calibrated, seed 0", values)):
        labels, scores = predicted(rows, setting), ranked(rows, setting)
        score = scores[np.arange(len(labels)), labels]
        bins = np.where(rows.weight > 0, np.minimum((score * 10).astype(int), 9), -1)
        populated = [number for number in range(10) if (bins == number).sum() >= 20]
        right.plot(
            [score[bins == number].mean() for number in populated],
            [(labels == rows.truth)[bins == number].mean() for number in populated],
            "o-",
            label=name,
        )
    right.set_xlabel("score")
    right.set_ylabel("share of correct labels")
    right.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dialogue", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--half", action="store_true", help="as many utterances without an emotion as with one")
    parser.add_argument("--dialogues", type=int, default=10**9, metavar="N", help="only the first N of the file")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--picture", type=Path, metavar="SVG")
    args = parser.parse_args()
    rows = [row for row in read_rows(args.dialogue, args.half) if row["dialogue"] < args.dialogues]
    build(rows, args.work)
    scoring, samples = read_labelled_samples(str(args.work / "out"), None)
    name_of = {key_of(row): row["label"] for row in rows}
    truth_of = {key: scoring.fitted_on.labels.index(name) for key, name in name_of.items()}
    results: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {name: [] for name in SETTINGS}
    changed: dict[str, list[str]] = {name: [] for name in SETTINGS}
    first: tuple[LabelledRows, Values] | None = None
    for seed in range(args.seeds):
        drawn, labelled, fitted = (args.work / f"{seed}{suffix}" for suffix in (".csv", "-labelled.csv", ".yaml"))
        drawn.unlink(missing_ok=True)
        run("sample", args.work / "out", "--n", args.rows, "--seed", seed, "--output", drawn)
        keys = label_by_hand(drawn, labelled, name_of)
        rest = evaluation_rows(samples, truth_of, np.array([float(sample.key not in keys) for sample in samples]))
        for name, options in SETTINGS.items():
            run("calibrate", args.work / "out", "--csv", labelled, "--output", fitted, *options)
            stored = parse_calibration(fitted.read_bytes(), str(fitted)).values
            values = Values(stored["prior_strength"], DEFAULT.neutral_threshold, stored["temperature"])
            results[name].append((figures(rest, DEFAULT), figures(rest, values)))
            changed[name].append(f"{values.prior_strength:g}/{values.temperature:g}")
            first = first or (rest, values)
    print(
        f"{len(samples)} utterances, {args.rows} labelled, {args.seeds} seeds; on the rest, mean (lowest to highest):"
    )
    print("| calibrate | " + " | ".join(FIGURES) + " | strength/temperature |")
    for name, pairs in results.items():
        cells = []
        for figure, factor in FIGURES.items():
            gains = [factor * (after[figure] - before[figure]) for before, after in pairs]
            value = factor * np.mean([after[figure] for _, after in pairs])
            cells.append(f"{value:.4g} ({np.mean(gains):+.3g}; {min(gains):+.3g} to {max(gains):+.3g})")
        print(f"| {name} | " + " | ".join(cells) + f" | {', '.join(changed[name])} |")
    before = {figure: factor * np.mean([pair[0][figure] for pair in pairs]) for figure, factor in FIGURES.items()}
    print("default: " + ", ".join(f"{figure} {value:.4g}" for figure, value in before.items()))
    if args.picture and first:
        draw_pictures(args.picture, results, *first)


if __name__ == "__main__":
    main()
