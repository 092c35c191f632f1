"""Confusion matrices as text and as images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lanser_ops.common.errors import InputError


def text_confusion(counts: np.ndarray, labels: Sequence[str]) -> str:
    """``counts`` (labels, labels) as lines of text: rows are the corpus' labels with their recall, columns predictions.

    >>> print(text_confusion(np.array([[3, 1], [0, 2]]), ["joy", "fear"]))
            joy   fear  recall
    joy       3      1   75.0%
    fear      .      2  100.0%
    """
    width, size = max(map(len, labels)), max(5, *map(len, labels), len(str(counts.max())))
    lines = [" " * width + "".join(f"  {label:>{size}}" for label in labels) + "  recall"]
    for label, row, correct in zip(labels, counts, np.diag(counts), strict=True):
        cells = "".join(f"  {count or '.':>{size}}" for count in row)
        recall = f"{correct / row.sum():.1%}" if row.any() else "-"
        lines.append(f"{label:<{width}}{cells}  {recall:>6}")
    return "\n".join(lines)


def draw_confusion(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draw ``counts`` (labels, labels) to ``path``, .png or .svg; a cell's shade is its share of the row.

    Equal counts give equal bytes. Raises InputError if the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with rc_context({"svg.hashsalt": "lanser"}):  # otherwise identifiers are random
        figure = Figure(figsize=(2 + 0.7 * len(labels), 1.5 + 0.6 * len(labels)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="label of the corpus")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
