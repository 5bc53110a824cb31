"""Quality against the duration of the first stage: that stage alone, and the treatment made of it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipddpm.measure.statistics import Estimate, mean_interval
from dipddpm.report.contrast import Sample, best_validated
from dipddpm.report.figures.canvas import (
    COLD,
    WARM,
    WARM_MARKERS,
    architecture,
    best,
    headline,
    intervals,
    iterations,
    limits,
    name_at,
    sheet,
    ticks,
    unit_label,
    words,
)

COLORS = (*WARM, *COLD[1:])  # all but the first cold one, which is the control's


def chart(samples: Sequence[Sample], primary: str) -> Figure | None:
    """A line an architecture, the control that is best on the validation images as a band; ``name:variant``
    architectures have a row a variant.

    None without treatments and without their priors alone.
    """
    samples = [s for s in samples if s.plain]
    treatments = [s for s in samples if s.record.role == "treatment" and s.record.chosen and architecture(s)]
    untrained = [
        s for s in samples
        if s.record.role == "ablation" and s.record.chosen and architecture(s) and not iterations(s)
    ]  # fmt: skip
    parts = [s for s in samples if s.record.role == "part" and architecture(s)]
    panels = {"prior alone": parts, "prior + diffusion": treatments + untrained if treatments else []}
    panels = {name: members for name, members in panels.items() if members}
    if not panels:
        return None

    shown = [s for members in panels.values() for s in members]
    names = list(dict.fromkeys(architecture(s) for s in shown))
    bases, variants = (list(dict.fromkeys(name.partition(":")[i] for name in names)) for i in (0, 2))
    title = f"{headline(samples, primary)} against the duration of the prior's fit, 95 % intervals"
    figure = sheet(2.4 * len(variants) + 1.2, title)
    grid = figure.subplots(len(variants), len(panels), sharey=True, squeeze=False)
    durations = sorted({iterations(s) for s in shown})
    shortest = min((i for i in durations if i), default=1)
    estimates: list[Estimate] = []
    for row, variant in zip(grid, variants, strict=True):
        for axes, (panel, members) in zip(row, panels.items(), strict=True):
            # Linear below the shortest duration: a logarithm has no room for 0.
            axes.set_xscale("symlog", base=2, linthresh=shortest, linscale=1)
            axes.set_xlim(-0.3 * shortest, durations[-1] * 1.4 or 1)
            axes.grid(axis="y")
            axes.set_title(f"{panel}, {words(variant)}" if variant else panel, loc="left")
            for i, base in enumerate(bases):
                name = f"{base}:{variant}" if variant else base
                own = {iterations(s): s for s in sorted(members, key=iterations) if architecture(s) == name}
                if own:
                    look = {"color": COLORS[i % len(COLORS)], "marker": WARM_MARKERS[i % len(WARM_MARKERS)]}
                    estimates += intervals(axes, own, primary, look, (i, len(bases)), room=12)
        row[0].set_ylabel(unit_label(samples, primary))
    handles: list[Artist] = [
        Line2D([], [], color=COLORS[i % len(COLORS)], marker=WARM_MARKERS[i % len(WARM_MARKERS)], label=words(base))
        for i, base in enumerate(bases)
    ]
    controls = [s for s in samples if s.record.role == "control" and s.record.chosen]
    if controls:
        control = best_validated(controls, primary) or best(controls, primary)
        band = mean_interval(control.values[primary])
        estimates.append(band)
        for axes in grid.flat:
            axes.axhspan(band.low, band.high, color=COLD[0], alpha=0.13, linewidth=0, zorder=0)
            axes.axhline(band.mean, color=COLD[0], linewidth=1.2, zorder=0.5)
        handles.append(Line2D([], [], color=COLD[0], label=f"best control: {name_at(control)}"))
    limits(grid[0, 0], estimates)
    for axes in grid[-1]:
        axes.set_xlabel("DIP iterations" + ("; 0: untrained" if durations[0] == 0 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    ticks(grid.flat, [durations[0], *reversed(durations)])
    return figure
