"""Seconds against size in log-log: one line per stage, beside the slope of work that is in proportion to size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dipddpm.report.figures.canvas import COLD, COLD_MARKERS, GREY, WARM, WARM_MARKERS, sheet
from dipddpm.report.growth import Growth
from dipddpm.report.words import words

LOOKS = list(zip((*WARM, *COLD), (*WARM_MARKERS, *COLD_MARKERS), strict=False))
LINE = 2 * 8.5 * 1.2 / 72  # height of a label of two lines, in inches


def chart(growths: Sequence[Growth]) -> Figure:
    """Draw seconds against the number of images (left) and against other sizes (right); a stage has one colour in both.

    At the end of each line stands its fitted exponent with the standard error.
    """
    figure = sheet(4.0, "Seconds against size; dashed: in proportion to it (exponent 1)")
    of_images = [g for g in growths if g.against == "images"]
    others = [g for g in growths if g.against != "images"]
    parts = {"images": of_images, _listed(others): others}
    parts = {label: members for label, members in parts.items() if members}
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    stages = list(dict.fromkeys(g.stage for g in growths))
    seconds = [s for g in growths for s in g.seconds]
    for axes, (label, members) in zip(panels, parts.items(), strict=True):
        _panel(axes, members, stages)
        axes.set_xlabel(label)
        axes.set_ylim(min(seconds) / 1.6, max(seconds) * 1.6)
    panels[0].set_ylabel("seconds (median)")
    figure.draw_without_rendering()  # computes where the axes lie, over which the labels are spread
    for axes, members in zip(panels, parts.values(), strict=True):
        _labels(axes, members, stages)
    return figure


def _listed(growths: Sequence[Growth]) -> str:
    return ", ".join(dict.fromkeys(words(g.against) for g in growths))


def _panel(axes: Axes, growths: Sequence[Growth], stages: Sequence[str]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for g in growths:
        color, marker = LOOKS[stages.index(g.stage) % len(LOOKS)]
        sizes = np.array(g.sizes)
        axes.plot(sizes, g.seconds[0] * sizes / sizes[0], color=GREY, linestyle="--", linewidth=0.8, zorder=1)
        axes.plot(sizes, g.seconds, color=color, marker=marker, markersize=4)
    every = sorted({size for g in growths for size in g.sizes})
    while len(every) > 7:
        every = every[::2]
    axes.xaxis.set_major_locator(FixedLocator(every))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.grid(axis="y")
    low, high = min(size for g in growths for size in g.sizes), max(size for g in growths for size in g.sizes)
    axes.set_xlim(low / 1.25, high * (high / low) ** 0.55)  # leaves room for the labels


def _labels(axes: Axes, growths: Sequence[Growth], stages: Sequence[str]) -> None:
    """Write name and exponent to the right of each line, moved apart where lines end close to each other."""
    assert isinstance(axes.figure, Figure)
    low, high = np.log(axes.get_ylim())
    height = axes.get_window_extent().height / axes.figure.dpi
    gap = (high - low) * LINE / height
    ordered = sorted(growths, key=lambda g: g.seconds[-1])
    places = np.log([g.seconds[-1] for g in ordered])
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    if len(places):
        places -= max(0.0, places[-1] + gap / 2 - high)
    right = max(size for g in growths for size in g.sizes)
    for g, place in zip(ordered, places, strict=True):
        color, _ = LOOKS[stages.index(g.stage) % len(LOOKS)]
        name = words(g.stage) + (f", {words(g.against)}" if g.against != "images" else "")
        text = f"{name}\n{g.exponent.value:.2f} ± {g.exponent.error:.2f}"
        axes.annotate(
            text, (g.sizes[-1], g.seconds[-1]), (right * 1.25, np.exp(place)), color=color, va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "linestyle": ":"},
        )  # fmt: skip
