"""The perception-distortion plane (Blau and Michaeli 2018, arXiv 1711.06077): one judge against the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import GREY, Look, headline, legend_right, mean, sheet, unit_label
from dipddpm.report.figures.front import ROLES, entry, line, number_members
from dipddpm.report.metric_names import metric_name
from dipddpm.report.pareto import pareto_front

KEPT = 0.8  # share of the arms, the best ones by either judge, that the axes are scaled to


def chart(samples: Sequence[Sample], distortion: str, perception: str) -> Figure | None:
    """Draw every arm at the budgets and in the settings that either judge chose; the better corner is lower left.

    Arms with a leak are left out. The front holds those that no other arm beats by both judges; it is numbered. The
    axes are scaled to the front and to the better arms; how many lie beyond is said. None with fewer than two arms.
    """
    shown = [
        s for s in samples
        if s.record.leak == "none" and s.record.role in ROLES and {distortion, perception} & {*s.record.chosen}
        and perception in s.values and np.isfinite(s.values[perception]).all()
    ]  # fmt: skip
    if len(shown) < 2:
        return None
    signs = shown[0].sign(distortion), shown[0].sign(perception)
    points = np.array([(mean(s, distortion), mean(s, perception)) for s in shown])
    worse = points * [-signs[0], -signs[1]]  # lower is better in both
    front = pareto_front(worse[:, 0].tolist(), worse[:, 1].tolist(), higher_is_better=False)

    limits = np.maximum(np.quantile(worse, KEPT, axis=0), worse[front].max(axis=0))
    beyond = int((worse > limits + 1e-12).any(axis=1).sum())
    note = f"; {beyond} arms lie beyond the axes" if beyond else ""
    height = max(3.7, 0.165 * (len(front) + len(ROLES) + 5) + 0.6)
    figure = sheet(height, f"{headline(shown, distortion)} against {metric_name(perception)}{note}")
    axes = figure.subplots()
    axes.set_xlabel(f"{unit_label(shown, distortion)}, better to the left")
    axes.set_ylabel(unit_label(shown, perception))
    axes.grid()
    roles = _points(axes, shown, points, distortion, perception)
    _scale(axes, worse, limits, signs)
    members = [(float(points[i, 0]), float(points[i, 1])) for i in front]
    line(axes, members, axes.get_xlim()[1])
    listed = [entry(number, [shown[i]]) for number, i in enumerate(front, 1)]
    legend_right(figure, {"role": roles, "front, beaten by no arm": listed})
    figure.draw_without_rendering()  # computes where the axes lie, beside whose points the numbers go
    inside = [(float(x), float(y)) for (x, y), bad in zip(points, worse, strict=True) if (bad <= limits).all()]
    number_members(axes, members, range(len(members)), inside, upwards=signs[1] > 0)
    return figure


def _points(
    axes: Axes, shown: Sequence[Sample], points: np.ndarray, distortion: str, perception: str
) -> list[Artist]:  # fmt: skip
    """Draw the arms by role, hollow where the judge of perception alone chose the setting; handles for the legend."""
    handles: list[Artist] = []
    hollow = [distortion not in s.record.chosen for s in shown]
    for role, (label, color, marker) in ROLES.items():
        mine = [i for i, s in enumerate(shown) if s.record.role == role]
        for empty in (False, True):
            at = points[[i for i in mine if hollow[i] == empty]]
            if len(at):
                fill = "none" if empty else color
                axes.plot(*at.T, marker, color=color, markerfacecolor=fill, markersize=4.5, alpha=0.75)
        if mine:
            handles.insert(0, Line2D([], [], color=color, marker=marker, markersize=4.5, linestyle="none", label=label))
    if any(hollow):
        look: Look = {"color": GREY, "marker": "o", "markersize": 4.5, "markerfacecolor": "none", "linestyle": "none"}
        handles.append(Line2D([], [], label=f"hollow: chosen by {metric_name(perception)}", **look))
    return handles


def _scale(axes: Axes, worse: np.ndarray, limits: np.ndarray, signs: tuple[int, int]) -> None:
    """Put the better corner lower left, with room for the numbers there."""
    best = worse.min(axis=0)
    span = np.where(limits > best, limits - best, 1.0)
    low, high = best - 0.12 * span, limits + 0.05 * span
    axes.set_xlim(-signs[0] * low[0], -signs[0] * high[0])
    axes.set_ylim(-signs[1] * low[1], -signs[1] * high[1])
