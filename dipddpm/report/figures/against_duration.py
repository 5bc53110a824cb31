"""Quality against the duration of the first stage: that stage alone, and the treatment made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipddpm.measure.statistics import Estimate
from dipddpm.report.contrast import Sample, best_validated
from dipddpm.report.figures.canvas import (
    COLD,
    WARM,
    WARM_MARKERS,
    Look,
    best,
    headline,
    intervals,
    limits,
    sheet,
    ticks,
    unit_label,
)
from dipddpm.report.words import architecture, iterations, name_at, words

COLORS = (*WARM, *COLD[1:])  # the first cold colour belongs to the control


def chart(samples: Sequence[Sample], primary: str) -> Figure | None:
    """Draw one line per architecture, and the control that is best on the validation images as a band.

    Variants of architectures, such as ``name:matched``, have one row of panels each. None without treatments
    and without priors alone.
    """
    samples = [s for s in samples if s.on_duration_curve]
    panels = _panels(samples, primary)
    if not panels:
        return None
    shown = [s for members in panels.values() for s in members]
    names = list(dict.fromkeys(architecture(s) for s in shown))
    bases, variants = (list(dict.fromkeys(parts[i] for parts in map(_parted, names))) for i in (0, 1))
    title = f"{headline(samples, primary)} against the duration of the prior's fit, 95 % intervals"
    figure = sheet(2.4 * len(variants) + 1.2, title)
    grid = figure.subplots(len(variants), len(panels), sharey=True, squeeze=False)
    durations = sorted({iterations(s) for s in shown})
    estimates: list[Estimate] = []
    for row, variant in zip(grid, variants, strict=True):
        for axes, (panel, members) in zip(row, panels.items(), strict=True):
            _scale(axes, durations)
            axes.set_title(f"{panel}, {words(variant)}" if variant else panel, loc="left")
            for i, base in enumerate(bases):
                name = f"{base}:{variant}" if variant else base
                own = {iterations(s): s for s in sorted(members, key=iterations) if architecture(s) == name}
                if own:
                    estimates += intervals(axes, own, primary, _look(i), (i, len(bases)), room=12)
        row[0].set_ylabel(unit_label(samples, primary))
    handles: list[Artist] = [Line2D([], [], label=words(base), **_look(i)) for i, base in enumerate(bases)]
    controls = [s for s in samples if s.record.role == "control" and primary in s.record.chosen]
    if controls:
        control = best_validated(controls, primary) or best(controls, primary)
        handles.append(_band(grid, control, primary))
        estimates.append(control.interval(primary))
    limits(grid[0, 0], estimates)
    for axes in grid[-1]:
        axes.set_xlabel("DIP iterations" + ("; 0: untrained" if durations[0] == 0 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    ticks(grid.flat, [durations[0], *reversed(durations)])
    return figure


def _panels(samples: Sequence[Sample], primary: str) -> dict[str, list[Sample]]:
    """What each panel shows, by its title. An untrained prior is the treatment of duration 0."""
    treatments = [s for s in samples if s.record.role == "treatment" and primary in s.record.chosen and architecture(s)]
    untrained = [
        s for s in samples
        if s.record.role == "ablation" and primary in s.record.chosen and architecture(s) and not iterations(s)
    ]  # fmt: skip
    parts = [s for s in samples if s.record.role == "part" and architecture(s)]
    panels = {"prior alone": parts, "prior + diffusion": treatments + untrained if treatments else []}
    return {name: members for name, members in panels.items() if members}


def _parted(name: str) -> tuple[str, str]:
    """Architecture and variant; another width, ``name:32``, is an architecture of its own."""
    base, _, variant = name.partition(":")
    return (name, "") if variant.isdecimal() else (base, variant)


def _scale(axes: Axes, durations: Sequence[int]) -> None:
    """Scale the x axis: logarithmic, but linear below the shortest duration, because 0 has no logarithm."""
    shortest = min((i for i in durations if i), default=1)
    axes.set_xscale("symlog", base=2, linthresh=shortest, linscale=1)
    axes.set_xlim(-0.3 * shortest, durations[-1] * 1.4 or 1)
    axes.grid(axis="y")


def _look(i: int) -> Look:
    return {"color": COLORS[i % len(COLORS)], "marker": WARM_MARKERS[i % len(WARM_MARKERS)]}


def _band(grid: np.ndarray, control: Sample, primary: str) -> Artist:
    """Draw the interval of the control as a band behind every panel; its handle for the legend."""
    band = control.interval(primary)
    for axes in grid.flat:
        axes.axhspan(band.low, band.high, color=COLD[0], alpha=0.13, linewidth=0, zorder=0)
        axes.axhline(band.mean, color=COLD[0], linewidth=1.2, zorder=0.5)
    return Line2D([], [], color=COLD[0], label=f"best control: {name_at(control)}")
