"""Histograms as inline SVG, in the colours of the page: they follow its light and dark scheme."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that matplotlib draws with, and what stands in their place in the page.
BAR, INK = "#123456", "#654321"
STYLES = {BAR: "var(--accent)", INK: "currentColor"}
# Text stays text; ids do not change from run to run.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "lanser", "font.size": 8.0, "axes.linewidth": 0.6}
ALIGNMENTS: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def histogram(
    values: Sequence[float], extent: tuple[float, float], title: str, size: tuple[float, float], bins: int = 20
) -> Markup:
    """An SVG of ``size`` inches with a histogram of ``values`` over ``extent``; values beyond it count at its ends.

    ``title`` is its text for screen readers.
    """
    counts, edges = np.histogram(np.clip(values, *extent), bins=bins, range=extent)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=size)
        figure.patch.set_visible(False)
        axes = figure.add_axes((0.02, 0.3, 0.96, 0.68))
        axes.patch.set_visible(False)
        axes.stairs(counts, edges, fill=True, color=BAR, linewidth=0)
        axes.set_xlim(*extent)
        axes.set_ylim(0, max(1, counts.max()) * 1.05)
        axes.set_yticks([])
        ticks = [extent[0], (extent[0] + extent[1]) / 2, extent[1]]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        for label, alignment in zip(axes.get_xticklabels(), ALIGNMENTS, strict=True):
            label.set_horizontalalignment(alignment)
        axes.tick_params(colors=INK, length=2, width=0.6, pad=2)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.spines["bottom"].set_color(INK)
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata=NO_METADATA)
    return _inline(stream.getvalue(), title)


def _inline(svg: str, title: str) -> Markup:
    """The ``svg`` element of a file, with the styles of the page."""
    element = svg[svg.index("<svg") :]
    for colour, style in STYLES.items():
        element = element.replace(colour, style)
    return Markup(element.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))
