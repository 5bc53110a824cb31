"""What all figures share: style, colours, labels, intervals, ticks, legends and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from dipddpm.measure.files import write_atomically
from dipddpm.measure.statistics import Estimate
from dipddpm.report.contrast import Sample
from dipddpm.report.metric_names import metric_name
from dipddpm.report.words import words

DPI, WIDTH = 150, 7.0
# Okabe and Ito (2008): colours that colour-blind readers can tell apart. Warm ones are for treatments, cold for
# controls.
WARM = ("#D55E00", "#E69F00", "#CC79A7")
COLD = ("#0072B2", "#56B4E9", "#009E73", "#000000")
GREY = "#777777"
# The numbers of markers are coprime to those of colours, so that a pair of colour and marker repeats late.
WARM_MARKERS, COLD_MARKERS = ("o", "^", "v", "<", ">", "h", "p"), ("s", "D", "X", "P", "d")

Look = dict[str, Any]
"""Keyword arguments of a ``Line2D``."""

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.titlesize": 10,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "svg.hashsalt": "dipddpm",  # without it the ids in an SVG are random
}


def style() -> AbstractContextManager[None]:
    """This style on top of matplotlib's defaults, so that a user's own settings do not change any figure."""
    return matplotlib.style.context(["default", _STYLE])


def sheet(height: float, title: str) -> Figure:
    """An empty figure of full text width, ``height`` inches high, with a layout that clips nothing."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def save(figure: Figure, stem: Path) -> Path:
    """``stem``.svg and ``stem``.png, each atomically, without dates; the path of the PNG.

    Both have one layout. Left to itself, matplotlib makes it anew for each of them, and draws the figure once more each
    time: half of the seconds of a report.
    """
    lay_out(figure)
    figure.set_layout_engine(None)
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        path = stem.with_name(stem.name + suffix)
        write_atomically(path, partial(figure.savefig, dpi=DPI, metadata=metadata))
    return path


def lay_out(figure: Figure) -> None:
    """Compute where everything of a figure lies, without drawing it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def headline(samples: Sequence[Sample], primary: str) -> str:
    """The beginning of a title: the group, the number of images, and the metric."""
    first, leaks = samples[0], all(s.record.leak != "none" for s in samples)
    group = words(first.record.group) + (" (saw the target)" if leaks else "")
    return f"{group}, n = {first.values[primary].shape[1]}: mean {metric_name(primary)}"


def unit_label(samples: Sequence[Sample], primary: str) -> str:
    """Label of an axis that shows the metric."""
    measure = samples[0].record.measures[primary]
    unit = f" ({measure.unit})" if measure.unit else ""
    return metric_name(primary) + unit + ("" if measure.higher_is_better else ", lower is better")


def mean(sample: Sample, primary: str) -> float:
    """Mean over photographs and repeats."""
    return sample.mean(primary)


def best(samples: Iterable[Sample], primary: str) -> Sample:
    """The sample with the best mean, among those at a chosen budget if there are any."""
    listed = list(samples)
    sign = 1 if listed[0].record.measures[primary].higher_is_better else -1
    return max([s for s in listed if primary in s.record.chosen] or listed, key=lambda s: sign * mean(s, primary))


def intervals(
    axes: Axes, points: Mapping[int, Sample], primary: str, look: Look, place: tuple[int, int], room: float = 14
) -> list[Estimate]:
    """Draw a line of means with their intervals.

    Args:
        points: {x: sample}.
        place: index of the line, and how many there are. Each line is shifted by its index, so that the error bars of
            all lines stand side by side.
        room: typographic points that the bars of all lines may take together.

    Returns:
        the intervals. matplotlib does not scale the axes to shifted lines: see :func:`limits`.
    """
    estimates = [sample.interval(primary) for sample in points.values()]
    index, count = place
    aside = (index - (count - 1) / 2) * min(2.5, room / count) / 72
    assert isinstance(axes.figure, Figure)
    shifted = axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
    errors = np.nan_to_num([[e.mean - e.low for e in estimates], [e.high - e.mean for e in estimates]], posinf=0)
    means = [e.mean for e in estimates]
    axes.errorbar(list(points), means, errors, transform=shifted, elinewidth=0.8, capsize=0, **look)
    return estimates


def limits(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """Scale the y axis so that every interval fits; the mean alone of one that has no interval."""
    ends = np.array([(e.low, e.mean, e.high) for e in estimates])
    low, high = ends[np.isfinite(ends)].min(), ends[np.isfinite(ends)].max()
    margin = 0.04 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)


def ticks(panels: Iterable[Axes], positions: Iterable[float]) -> None:
    """Put ticks at exactly ``positions`` on the x axes of one figure, which are all alike.

    Positions are given with the most important first. A label without room is left out.
    """
    drawn, places = list(panels), list(dict.fromkeys(positions))
    for axes in drawn:
        axes.set_xticks(places, [""] * len(places))
        axes.xaxis.set_minor_locator(NullLocator())
    assert isinstance(drawn[0].figure, Figure)
    lay_out(drawn[0].figure)
    labels, taken = [f"{position:g}" for position in places], list[tuple[float, float]]()
    for i, position in enumerate(places):
        x = drawn[0].transData.transform((position, 0))[0] * 72 / DPI
        half = 2.8 * len(labels[i]) + 2
        if any(x - half < right and left < x + half for left, right in taken):
            labels[i] = ""
        else:
            taken.append((x - half, x + half))
    for axes in drawn:
        axes.set_xticks(places, labels)


def legend_right(figure: Figure, parts: Mapping[str, Sequence[Artist]]) -> None:
    """Draw one legend to the right of the axes, with its handles under bold headings."""
    handles: list[Artist] = []
    for heading, members in parts.items():
        if members:
            handles += [Line2D([], [], linestyle="none", label=heading), *members]
    # The figure's own title may be as wide as the sheet: a blank title keeps the first entry of the legend below it.
    legend = figure.legend(handles=handles, loc="outside right upper", title=" ", handlelength=2.6, labelspacing=0.35)
    for text in legend.get_texts():
        if text.get_text() in parts:
            text.set_fontweight("bold")
