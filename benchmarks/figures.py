"""The pictures of docs/labels.md, from the figures that `benchmarks.labels` writes with ``--json``.

    python benchmarks/figures.py labels.json docs/images

They have no background and use tones that can be read on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)
from matplotlib.axes import Axes  # noqa: E402

INK = "#808080"
BLUE, ORANGE, GREEN = "#3b82f6", "#e0752d", "#2f9e60"
LABEL_COLOURS = ("#d9534f", "#8a9a3b", "#8b62c9", "#e0a92d", "#3b82f6", "#2fa3a0", "#8c8c8c")
FIGURES = {"macro_f1": "macro-F1", "wa": "accuracy", "ua": "UA"}
STRENGTHS = "Against and strength of the corpus prior"

STYLE = {
    "svg.hashsalt": "lanser",  # otherwise identifiers are random
    "svg.fonttype": "none",
    "font.size": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}
STYLE |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)


def percents(figure: Sequence[float]) -> list[float]:
    return [100 * value for value in figure]


def draw_strength(tables: dict[str, Any]) -> None:
    """What a strength gains and costs: macro-F1, UA and the share of neutral over the strength."""
    _, axes = pyplot.subplots(figsize=(6, 3.4))
    rows = tables[STRENGTHS][1:]
    for against, line in (("all", "-"), ("contradiction", "--")):
        chosen = [row for row in rows if row["against"] == against]
        strengths = [row["strength"] for row in chosen]
        for name, colour in (("macro_f1", BLUE), ("ua", GREEN)):
            values, low, high = zip(*(percents(row[name]) for row in chosen), strict=True)
            axes.plot(strengths, values, line, color=colour, marker="o", markersize=4)
            if against == "all":
                axes.fill_between(strengths, low, high, color=colour, alpha=0.2, linewidth=0)
                axes.annotate(FIGURES[name], (1.02, values[-1]), color=colour, va="center", annotation_clip=False)
        neutral = [100 * row["shares"]["neutral"] for row in chosen]
        axes.plot(strengths, neutral, line, color=ORANGE, marker="o", markersize=4)
        if against == "all":
            axes.annotate("called neutral", (1.02, neutral[-1]), color=ORANGE, va="center", annotation_clip=False)
    axes.axvline(tables[STRENGTHS][0]["strength"], color=INK, linewidth=1, linestyle=":")
    axes.set(
        xlabel="--prior-strength (dotted: the default; dashed: --against contradiction)", ylabel="%", ylim=(0, 100)
    )


def draw_intervals(axes: Axes, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """A line per row, the first at the top: every figure of ``names`` as a dot in its interval."""
    for number, name in enumerate(names):
        colour = (BLUE, ORANGE, GREEN)[number]
        for height, row in enumerate(rows):
            value, low, high = percents(row[name])
            level = height + 0.24 * (number - (len(names) - 1) / 2)
            axes.plot([low, high], [level, level], color=colour, linewidth=2, alpha=0.5)
            axes.plot([value], [level], "o", color=colour, markersize=5, label="" if height else FIGURES[name])
    axes.set_yticks(range(len(rows)), [row["name"].replace("`", "").replace("--taxonomy ", "") for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("% with 95 % interval")
    axes.tick_params(axis="y", length=0)
    if len(names) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))


def draw_taxonomy(tables: dict[str, Any]) -> None:
    """Several hypotheses and groups beside one word for every label."""
    groups = [row for row in tables["28 labels in groups"][1:] if row["strength"] > 0]
    rows = [*tables["Several hypotheses for a label"], *groups]
    _, axes = pyplot.subplots(figsize=(4.5, 0.36 * len(rows) + 0.6))
    draw_intervals(axes, [{**row, "name": short(row["name"])} for row in rows], ["macro_f1"])
    axes.set_xlabel("macro-F1, % with 95 % interval")


def short(name: str) -> str:
    """The name of a row with the file names in it alone and without the strength, which all rows share."""
    parts = name.replace("`", "").split()
    return " ".join(part.rsplit("/", 1)[-1] for part in parts if not part.startswith("--") and part != "0.4,")


def draw_selection(tables: dict[str, Any]) -> None:
    """What thresholds and the rules of the selection leave."""
    rows = [{**row, "name": f"{row['name']} (leaves {row['kept']:.0%})"} for row in tables["Selection"]]
    _, axes = pyplot.subplots(figsize=(4.5, 0.42 * len(rows) + 0.8))
    draw_intervals(axes, rows, ["macro_f1", "wa"])


def draw_shares(tables: dict[str, Any], people: dict[str, float]) -> None:
    """The shares of the labels, as people give them and with four choices."""
    rows = {row["name"].replace("`", ""): row["shares"] for row in tables[STRENGTHS]}
    chosen = ["--against contradiction --prior-strength 0", "--against all --prior-strength 0", "the defaults"]
    bars = {"people": people, **{name: rows[name] for name in (*chosen, "--against all --prior-strength 1")}}
    _, axes = pyplot.subplots(figsize=(4.5, 2.2))
    left = [0.0] * len(bars)
    for label, colour in zip(people, LABEL_COLOURS, strict=True):
        widths = [100 * shares[label] for shares in bars.values()]
        axes.barh(list(bars), widths, left=left, color=colour, label=label, height=0.7)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="% of the labels", xlim=(0, 100))
    axes.legend(loc="lower center", bbox_to_anchor=(0.2, 1), ncols=4, fontsize=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    parser.add_argument("images", type=Path)
    args = parser.parse_args()
    dialogue = json.loads(args.json.read_text(encoding="utf-8"))["dialogue"]
    tables = dialogue["tables"]
    pyplot.rcParams.update(STYLE)
    args.images.mkdir(parents=True, exist_ok=True)
    draws = {
        "strength": lambda: draw_strength(tables),
        "shares": lambda: draw_shares(tables, dialogue["people"]),
        "hypotheses": lambda: draw_taxonomy(tables),
        "selection": lambda: draw_selection(tables),
    }
    for name, draw in draws.items():
        draw()
        pyplot.savefig(args.images / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        pyplot.close()


if __name__ == "__main__":
    main()
