"""The members of a Pareto front in a figure: the line, numbers beside the points, and entries of the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import COLD, DPI, GREY, WARM
from dipddpm.report.words import ROLE_WORDS, words

LINE = 10  # points: a number of 8, with what some versions of matplotlib count as its line

ROLES = {  # {role: (label, colour, marker)}, in the order in which they are drawn
    "bound": (ROLE_WORDS["bound"], GREY, "x"),
    "ablation": (ROLE_WORDS["ablation"], WARM[2], "v"),
    "part": (ROLE_WORDS["part"], WARM[1], "^"),
    "treatment": (ROLE_WORDS["treatment"], WARM[0], "o"),
    "control": (ROLE_WORDS["control"], COLD[0], "s"),
}


def line(axes: Axes, front: Sequence[tuple], right: float) -> None:
    """Draw the front as steps up to the right end of the axis, its members as circles."""
    x, y = np.array(front).T
    axes.step([*x, right], [*y, y[-1]], where="post", color="black", linewidth=0.9, zorder=1.5)
    axes.plot(x, y, "o", markersize=8, markerfacecolor="none", color="black")


def entry(number: int, members: Sequence[Sample]) -> Artist:
    """The entry of the legend for an arm on the front, with its budgets there."""
    first = members[0].record
    _, color, marker = ROLES[first.role]
    budgets = ", ".join(str(s.record.budget) for s in members if s.record.budget)
    label = f"{number}  {words(first.arm)}" + (f" at {budgets} NFE" if budgets else "")
    return Line2D([], [], color=color, marker=marker, linestyle="none", label=label)


def number_members(
    axes: Axes, front: Sequence[tuple], at: Sequence[int], others: Sequence[tuple], upwards: bool
) -> None:
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
            hit = any((np.abs(centre - other) < (half + room, LINE)).all() for other, room in taken)
            if centre[1] > level + 8 and left + half < centre[0] < right - half and not hit:
                break
        taken.append((centre, half))
        axes.annotate(
            str(number), front[i], tuple((centre - members[i]) * sign), textcoords="offset points",
            ha="center", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4, "color": GREY},
        ).set_in_layout(False)  # fmt: skip
