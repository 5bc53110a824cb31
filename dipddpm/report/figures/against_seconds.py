"""Quality against total seconds: every arm at every budget, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import headline, legend_right, mean, sheet, ticks, unit_label
from dipddpm.report.figures.front import ROLES, entry, line, number_members
from dipddpm.report.pareto import pareto_front


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
        line(axes, [points[i] for i in front], dearest)
        for number, run in enumerate(runs, 1):
            listed.append(entry(number, [samples[front[k]] for k in run]))
    legend_right(figure, {"role": roles[::-1], "Pareto front": listed})
    _ticks(axes)
    if front:
        leaking = [point for i, point in enumerate(points) if i not in honest]
        number_members(axes, [points[i] for i in front], [run[len(run) // 2] for run in runs], leaking, upwards=higher)
    return figure


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
