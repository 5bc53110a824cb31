"""Quality against the budget: controls, bounds, and the longest and the best treatment of each architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipddpm.measure.record import Record
from dipddpm.measure.statistics import Estimate
from dipddpm.report.contrast import Sample
from dipddpm.report.figures.canvas import (
    COLD,
    COLD_MARKERS,
    GREY,
    WARM,
    WARM_MARKERS,
    Look,
    best,
    headline,
    intervals,
    legend_right,
    limits,
    mean,
    sheet,
    ticks,
    unit_label,
)
from dipddpm.report.words import architecture, iterations, words

TOGETHER = 3  # as many architectures fit into one panel
ALONE = " alone"  # the name of an arm at budget 0 ends like this


@dataclass(frozen=True)
class Line:
    """One arm over its budgets, and how it is drawn.

    Attributes:
        points: {budget: sample}, by rising budget.
        heading, label: its place in the legend.
    """

    points: dict[int, Sample]
    heading: str = ""
    label: str = ""
    look: Look = field(default_factory=dict)

    @property
    def last(self) -> Sample:
        """The sample at the largest budget. It describes the arm: at budget 0 there is only the arm's start."""
        return self.points[max(self.points)]

    @property
    def record(self) -> Record:
        """The record at the largest budget."""
        return self.last.record


def chart(samples: Sequence[Sample], primary: str) -> Figure | None:
    """Draw all arms into one panel, or with many architectures each into its own, with the controls as thin lines.

    None where no arm has a budget.
    """
    arms = _arms(samples)
    controls = _coloured([a for a in arms if a.record.role == "control"])
    treated = [a for a in arms if a.record.role == "treatment"]
    bounds = [a for a in arms if a.record.role == "bound" and a.record.budget]
    if not any(a.record.budget for a in [*controls, *treated]):
        return None
    names = list(dict.fromkeys(architecture(a.last) for a in treated))
    panels: dict[str, list[Line]] = {}
    if len(names) <= TOGETHER:
        panels[""] = [*controls, *_dashed(bounds)]
        for i, name in enumerate(names):
            durations = [a for a in treated if architecture(a.last) == name]
            panels[""] += _longest_and_best(durations, primary, i)
    else:
        panels["controls"] = [*controls, *_dashed([a for a in bounds if not architecture(a.last)])]
        # Variants of one architecture, which are named ``name:variant``, share a panel.
        for base in dict.fromkeys(name.partition(":")[0] for name in names):
            variants = [name for name in names if name.partition(":")[0] == base]
            lines = _dashed([a for a in bounds if architecture(a.last) in ("", *variants)])
            notes = []  # which duration is the best one of each variant
            for i, name in enumerate(variants):
                variant = name.partition(":")[2]
                durations = [a for a in treated if architecture(a.last) == name]
                lines += _longest_and_best(durations, primary, 2 * i, f"treatment {variant}".strip())
                if len(durations) > 1:
                    notes.append(f"{variant} best: {lines[-1].record.arm.rpartition(name)[2].strip()}".strip())
            panels[f"{words(base)}\n{', '.join(notes)}".strip()] = lines
    return _drawn(panels, controls, samples, primary)


def _arms(samples: Sequence[Sample]) -> list[Line]:
    arms: dict[str, list[Sample]] = {}
    for s in samples:
        arms.setdefault(s.record.arm.removesuffix(ALONE), []).append(s)
    return [Line({s.record.budget: s for s in sorted(a, key=lambda s: s.record.budget)}) for a in arms.values()]


def _coloured(arms: Sequence[Line]) -> list[Line]:
    lines = []
    for i, arm in enumerate(arms):
        look: Look = {"color": COLD[i % len(COLD)], "marker": COLD_MARKERS[i % len(COLD_MARKERS)]}
        if i >= len(COLD):
            look["linestyle"] = "dashdot"
        lines.append(Line(arm.points, "controls", words(arm.record.arm.removesuffix(ALONE)), look))
    return lines


def _dashed(arms: Sequence[Line]) -> list[Line]:
    lines = []
    # Bounds without an architecture come first, so that they look the same in every panel.
    arms = sorted(arms, key=lambda a: architecture(a.last))
    for arm, marker in zip(arms, ("", "x", "+", *"1234" * len(arms)), strict=False):
        look = {"color": GREY, "linestyle": "dashed", "marker": marker}
        lines.append(Line(arm.points, "bounds, saw the target", words(arm.record.arm), look))
    return lines


def _longest_and_best(durations: Sequence[Line], primary: str, place: int, name: str = "") -> list[Line]:
    """The longest duration (filled, solid), and the one with the best mean (hollow, dashed) if that is another one."""
    longest = max([a for a in durations if a.last.on_duration_curve] or durations, key=lambda a: iterations(a.last))
    winner = best([best([s for s in a.points.values() if s.record.budget], primary) for a in durations], primary)
    top = next(a for a in durations if a.record.arm == winner.record.arm)
    filled = {"color": WARM[place % len(WARM)], "marker": WARM_MARKERS[place % len(WARM_MARKERS)]}
    hollow = filled | {"markerfacecolor": "white", "linestyle": (0, (2, 1.2))}
    note = "" if len(durations) == 1 else " (longest, best)" if top is longest and not name else " (longest)"
    lines = [Line(longest.points, "treatments", (name or words(longest.record.arm)) + note, filled)]
    if top is not longest:
        lines.append(Line(top.points, "treatments", f"{name or words(top.record.arm)} (best)", hollow))
    return lines


def _drawn(panels: dict[str, list[Line]], controls: list[Line], samples: Sequence[Sample], primary: str) -> Figure:
    across, single = min(len(panels), 3), len(panels) == 1
    down = math.ceil(len(panels) / across)
    title = f"{headline(samples, primary)} against network evaluations, 95 % intervals"
    figure = sheet(3.7 if single else 1.85 * down + 1.2, title)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    budgets = sorted({b for lines in [controls, *panels.values()] for line in lines for b in line.points})
    label = ("network evaluations per image (NFE)" if single else "NFE") + "; 0: start alone" * (budgets[0] == 0)
    shown: list[Estimate] = []
    for place, (axes, (name, lines)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        if place:  # the first panel shows the controls with their intervals
            for line in controls:
                means = [mean(s, primary) for s in line.points.values()]
                axes.plot(list(line.points), means, **line.look | {"marker": "", "linewidth": 0.6, "zorder": 1})
        for i, line in enumerate(lines):
            shown += intervals(axes, line.points, primary, line.look, (i, len(lines)), room=14 if single else 8)
        # The axis is linear below 1, because budget 0 has no logarithm.
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=1)
        axes.set_xlim(-0.35 if budgets[0] == 0 else budgets[0] / 1.3, budgets[-1] * 1.25)
        axes.set_title(name, loc="left", fontsize=8)
        axes.grid(axis="y")
        if place + across >= len(panels):
            axes.set_xlabel(label)
    limits(grid[0, 0], shown)
    for row in grid:
        row[0].set_ylabel(unit_label(samples, primary))
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles: dict[str, dict[str, Artist]] = {"controls": {}, "treatments": {}}
    for line in (line for lines in panels.values() for line in lines):
        handle = Line2D([], [], label=line.label, **line.look)
        handles.setdefault(line.heading, {}).setdefault(line.label, handle)
    if single:
        legend_right(figure, {heading: list(members.values()) for heading, members in handles.items()})
    else:
        entries = [handle for members in handles.values() for handle in members.values()]
        figure.legend(handles=entries, loc="outside lower center", ncols=4, handlelength=2.6)
    ticks(grid.flat[: len(panels)], [budgets[-1], *budgets])
    return figure
