"""Quality over the step at which the second stage is entered and over its budget: one heat map per arm."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import WARM, headline, mean, sheet, unit_label
from dipddpm.report.words import words


def chart(samples: Sequence[Sample], primary: str) -> Figure | None:
    """Draw means as cells; the best one is framed, and what was not run stays white.

    Where several samples belong to one cell, the best one is shown. None where no arm has an entry step.
    """
    sign = 1 if samples[0].record.measures[primary].higher_is_better else -1
    maps: dict[str, dict[tuple[int, int], float]] = {}
    for s in samples:
        t0 = s.record.axes.get("t0")
        if s.record.role in ("treatment", "ablation") and isinstance(t0, int | float):
            # The name of an arm may end with its t0: without that, arms of all t0 share a map.
            cells = maps.setdefault(re.sub(r"\W*\bt0\b.*", "", s.record.arm) or s.record.arm, {})
            key, value = (int(t0), s.record.budget), mean(s, primary)
            cells[key] = max(cells.get(key, value), value, key=lambda v: sign * v)
    if not maps:
        return None
    t0s, budgets = (sorted({key[i] for cells in maps.values() for key in cells}) for i in (0, 1))
    values = [value for cells in maps.values() for value in cells.values()]
    low, high = min(values), max(values)
    decimals = max(0, 2 - math.floor(math.log10(max(abs(low), abs(high)) or 1)))  # gives three digits

    colors = "viridis" if sign > 0 else "viridis_r"  # bright is better
    across = min(len(maps), 3 if len(budgets) <= 5 else 2)
    down = math.ceil(len(maps) / across)
    figure = sheet(
        down * (0.27 * len(t0s) + 0.6) + 0.9, f"{headline(samples, primary)} over entry step and budget, best framed"
    )
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    for axes, (name, cells) in zip(grid.flat, maps.items(), strict=False):
        table = np.array([[cells.get((t0, budget), math.nan) for budget in budgets] for t0 in t0s])
        image = axes.imshow(table, cmap=colors, vmin=low, vmax=high, origin="lower", aspect="auto")
        for (t0, budget), value in cells.items():
            x, y = budgets.index(budget), t0s.index(t0)
            worse = (value - low if sign > 0 else high - value) < 0.6 * (high - low)
            color = "white" if worse else "black"
            axes.text(x, y, f"{value:.{decimals}f}", ha="center", va="center", fontsize=8, color=color)
        t0, budget = max(cells, key=lambda key: sign * cells[key])
        corner = (budgets.index(budget) - 0.46, t0s.index(t0) - 0.42)
        axes.add_patch(Rectangle(corner, 0.92, 0.84, fill=False, edgecolor=WARM[0], linewidth=2))
        axes.set_title(words(name), loc="left")
        axes.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
        axes.set_yticks(range(len(t0s)), [str(t0) for t0 in t0s])
    figure.colorbar(image, ax=grid, label=unit_label(samples, primary), fraction=0.05, aspect=30)
    figure.supxlabel("network evaluations per image (NFE)", fontsize=9)
    figure.supylabel("entry step t0", fontsize=9)
    return figure
