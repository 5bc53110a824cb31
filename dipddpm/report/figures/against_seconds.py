"""Quality against total seconds: every arm at every budget, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import (
    COLD,
    DPI,
    GREY,
    WARM,
    headline,
    legend_right,
    mean,
    sheet,
    ticks,
    unit_label,
    words,
)

ROLES = {  # {role: (label, colour, marker)}, in the order in which they are drawn
    "bound": ("bound, saw the target", GREY, "x"),
    "ablation": ("ablation", WARM[2], "v"),
    "part": ("prior alone", WARM[1], "^"),
    "treatment": ("treatment", WARM[0], "o"),
    "control": ("control", COLD[0], "s"),
}


def pareto_front(costs: Sequence[float], values: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """The points that no other point beats. One beats another if it is no dearer and no worse, and not equal to it.

    Of equal points the first is kept.

    Args:
        costs: (n,), lower is better.
        values: (n,).

    Returns:
        Indices into the points, by rising cost.
    """
    sign = 1 if higher_is_better else -1
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -sign * values[i])):
        if not front or sign * values[i] > sign * values[front[-1]]:
            front.append(i)
    return front


def chart(samples: Sequence[Sample], primary: str) -> Figure | None:
    """Draw one point per arm and budget, coloured by role. The front is numbered; arms with a leak are not on it.

    None where no arm has a cost.
    """
    if not any(s.cost > 0 for s in samples):
        return None
    points = [(s.cost, mean(s, primary)) for s in samples]
    higher = samples[0].record.measures[primary].higher_is_better
    honest = [i for i, s in enumerate(samples) if s.record.leak == "none"]
    front = pareto_front([points[i][0] for i in honest], [points[i][1] for i in honest], higher)
    front = [honest[i] for i in front]
    # Budgets of one arm that follow each other on the front share a number.
    runs = [list(run) for _, run in groupby(range(len(front)), key=lambda k: samples[front[k]].record.arm)]

    height = max(3.7, 0.165 * (len(runs) + len(ROLES) + 3) + 0.6)
    figure = sheet(height, f"{headline(samples, primary)} against total seconds")
    axes = figure.subplots()
    axes.set_xlabel("seconds per image, all stages")
    axes.set_ylabel(unit_label(samples, primary))
    axes.grid(axis="y")
    roles: list[Artist] = []
    for role, (label, color, marker) in ROLES.items():
        x, y = np.array([p for p, s in zip(points, samples, strict=True) if s.record.role == role]).reshape(-1, 2).T
        if len(x):
            size = 4.5 if len(samples) < 200 else 3.5
            roles += axes.plot(x, y, marker, color=color, markersize=size, alpha=0.75, label=label)
    dearest = _scale(axes, samples)
    values = [value for _, value in points]
    span = max(values) - min(values) or 1.0
    below, above = (0.05, 0.14) if higher else (0.14, 0.05)  # room for the numbers
    axes.set_ylim(min(values) - below * span, max(values) + above * span)
    listed: list[Artist] = []
    if front:
        _line(axes, [points[i] for i in front], dearest)
        for number, run in enumerate(runs, 1):
            listed.append(_entry(number, [samples[front[k]] for k in run]))
    legend_right(figure, {"role": roles[::-1], "Pareto front": listed})
    _ticks(axes)
    if front:
        leaking = [point for i, point in enumerate(points) if i not in honest]
        _number(axes, [points[i] for i in front], [run[len(run) // 2] for run in runs], leaking, upwards=higher)
    return figure


def _line(axes: Axes, front: Sequence[tuple], right: float) -> None:
    """Draw the front as steps up to the right end of the axis, its members as circles."""
    x, y = np.array(front).T
    axes.step([*x, right], [*y, y[-1]], where="post", color="black", linewidth=0.9, zorder=1.5)
    axes.plot(x, y, "o", markersize=8, markerfacecolor="none", color="black")


def _entry(number: int, members: Sequence[Sample]) -> Artist:
    """The entry of the legend for an arm on the front, with its budgets there."""
    first = members[0].record
    _, color, marker = ROLES[first.role]
    budgets = ", ".join(str(s.record.budget) for s in members if s.record.budget)
    label = f"{number}  {words(first.arm)}" + (f" at {budgets} NFE" if budgets else "")
    return Line2D([], [], color=color, marker=marker, linestyle="none", label=label)


def _scale(axes: Axes, samples: Sequence[Sample]) -> float:
    """Scale the x axis, and return its right end.

    The axis is logarithmic, and linear with a 0 below the cheapest arm that has a budget. Arms without one cost
    microseconds, and a logarithm would spend most of its length on them.
    """
    costs = [s.cost for s in samples]
    paid = [s.cost for s in samples if s.cost > 0 and s.record.budget] or [cost for cost in costs if cost > 0]
    free, dearest = 10.0 ** math.floor(math.log10(min(paid))), max(costs) * 1.5
    if min(costs) < free:
        axes.set_xscale("symlog", linthresh=free, linscale=0.5)
        axes.set_xlim(-0.35 * free, dearest)
    else:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.5, dearest)
    return dearest


def _ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    free = axes.xaxis.get_transform().linthresh if low < 0 else low  # type: ignore[attr-defined]
    decades = [10.0**k for k in range(math.floor(math.log10(free)), math.ceil(math.log10(high)) + 1)]
    wanted = [*decades, *(3 * decade for decade in decades)]
    ticks([axes], [0.0] * bool(low < 0) + [t for t in wanted if free * (1 - 1e-9) <= t <= high])


def _number(axes: Axes, front: Sequence[tuple], at: Sequence[int], others: Sequence[tuple], upwards: bool) -> None:
    """Write 1, 2, ... beside the members ``at`` of a front, on its empty side.

    Each number takes the nearest place inside the axes where it overlaps neither the front, nor ``others``, nor another
    number.
    """
    sign = np.array([1, 1 if upwards else -1])

    def place(points: Sequence[tuple]) -> np.ndarray:
        """Positions in typographic points, flipped so that the empty side of the front lies upwards."""
        return axes.transData.transform(np.reshape(points, (-1, 2))) * sign * 72 / DPI

    members = place(front)
    left, right = np.array(axes.get_window_extent().intervalx) * 72 / DPI
    taken = [(point, 3.0) for point in place(others)]
    for number, i in enumerate(at, 1):
        half = 1.5 + 2.6 * len(str(number))
        for distance, angle in ((d, math.radians(a)) for d in range(10, 300) for a in (120, 90, 150, 70, 175)):
            centre = members[i] + distance * np.array([math.cos(angle), math.sin(angle)])
            level = members[members[:, 0] < centre[0] + half + 4, 1].max(initial=-math.inf)
            hit = any((np.abs(centre - other) < (half + room, 9)).all() for other, room in taken)
            if centre[1] > level + 8 and left + half < centre[0] < right - half and not hit:
                break
        taken.append((centre, half))
        axes.annotate(
            str(number), front[i], tuple((centre - members[i]) * sign), textcoords="offset points",
            ha="center", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4, "color": GREY},
        ).set_in_layout(False)  # fmt: skip
