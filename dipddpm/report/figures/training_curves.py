"""Quality along training runs: over updates, and over seconds, which include the fitting of the priors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.figures.canvas import COLD, COLD_MARKERS, GREY, WARM, WARM_MARKERS, Look, legend_right, sheet, ticks
from dipddpm.report.training_curves import Curve
from dipddpm.report.words import words

HEADINGS = {"plain": "plain", "treatment": "treatments", "control": "controls", "prior": "priors alone"}


def chart(group: str, curves: Sequence[Curve], primary: str) -> Figure:
    """Draw quality against updates (left) and against seconds (right).

    On the right, an arm whose priors had to be fitted begins that much later. Lines are means over repeats, with 95 %
    intervals over repeats where there are several. A prior alone is a dashed line: it is there before any training.
    """
    by_seconds = len({float(curve.total[:, -1].mean()) for curve in curves}) > 1
    figure = sheet(3.6, f"{words(group)}: mean {primary.upper()} along training")
    panels = figure.subplots(1, 1 + by_seconds, sharey=True, squeeze=False)[0]
    handles: dict[str, list] = {heading: [] for heading in HEADINGS.values()}
    count = {part: 0 for part in HEADINGS}
    for curve in curves:
        part = curve.part if curve.part in HEADINGS else "control"
        look = _look(part, count[part])
        count[part] += 1
        values = curve.values[primary]
        low, high = np.array([repeats_interval(column) for column in values.T]).T
        xs = [curve.updates, curve.total.mean(axis=0)] if by_seconds else [curve.updates]
        for axes, x in zip(panels, xs, strict=True):
            if part == "prior":
                line = axes.axhline(values.mean(), label=words(curve.arm), **look)
                continue
            (line,) = axes.plot(x, values.mean(axis=0), label=words(curve.arm), **look)
            if len(values) > 1:
                axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
        handles[HEADINGS[part]].append(line)
    first = min((float(u) for curve in curves for u in curve.updates if u), default=1.0)
    panels[0].set_xscale("symlog", linthresh=first)
    panels[0].set_xlabel("updates")
    checkpoints = sorted({int(u) for curve in curves for u in curve.updates}, reverse=True)
    panels[0].set_ylabel(f"{primary.upper()} of the restored test images (dB)")
    if by_seconds:
        panels[1].set_xlabel("seconds, priors included")
    for axes in panels:
        axes.grid(axis="y")
    legend_right(figure, handles)
    ticks(panels[:1], checkpoints)
    return figure


def _look(part: str, i: int) -> Look:
    if part == "plain":
        return {"color": GREY, "marker": "o", "linewidth": 2.0, "markersize": 4}
    if part == "prior":
        return {"color": COLD[i % len(COLD)], "linestyle": "--", "linewidth": 1.0}
    colors, markers = (WARM, WARM_MARKERS) if part == "treatment" else (COLD, COLD_MARKERS)
    return {"color": colors[i % len(colors)], "marker": markers[i % len(markers)], "markersize": 4}
