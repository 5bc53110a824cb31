"""Figures of a run. Each is one file as PNG and as SVG, and the same run gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import fill_intervals
from dipddpm.report.figures import (
    against_budget,
    against_duration,
    against_seconds,
    growth,
    perception_distortion,
    t0_by_budget,
    training_curves,
)
from dipddpm.report.figures.canvas import save, style
from dipddpm.report.figures.pictures import picture_grid
from dipddpm.report.file_names import file_name
from dipddpm.report.growth import SUITE as GROWTH
from dipddpm.report.growth import growths
from dipddpm.report.pareto import pareto_front
from dipddpm.report.training_curves import CURVES, curves

__all__ = ["draw", "pareto_front", "picture_grid"]

PLANE = "perception-distortion"
CHARTS = {  # {name of the file: (suite whose samples it shows, function that draws it)}
    "quality-against-nfe": ("restoration", against_budget.chart),
    "quality-against-seconds": ("restoration", against_seconds.chart),
    "quality-against-duration": ("restoration", against_duration.chart),
    "t0-by-budget": ("t0 by budget", t0_by_budget.chart),
}


def draw(run: Run, folder: Path, comparisons: Comparisons | None = None) -> list[Path]:
    """Draw every chart that the run has the data for, as ``<name>-<group>`` in PNG and SVG.

    Args:
        comparisons: of the run, where they are needed elsewhere too: what was computed once is not computed again.

    Returns:
        the paths of the PNG files.
    """
    comparisons = comparisons or Comparisons(run)
    drawable = [s for s in comparisons.samples if run.primary in s.values]
    drawable = [s for s in drawable if np.isfinite(s.values[run.primary]).all()]  # an arm that diverged cannot be drawn
    every = [s for s in drawable if s.record.seen_by(run.primary)]
    fill_intervals(every, run.primary)
    made = []
    with style():
        for group in dict.fromkeys(sample.record.group for sample in every):
            for name, (suite, chart) in CHARTS.items():
                asked = [s for s in every if (s.record.group, s.record.suite) == (group, suite)]
                figure = chart(asked, run.primary) if asked else None
                if figure:
                    made.append(save(figure, folder / f"{name}-{file_name(group)}"))
            if len(run.judges) > 1:
                asked = [s for s in drawable if (s.record.group, s.record.suite) == (group, "restoration")]
                if plane := perception_distortion.chart(asked, *run.judges[:2]):
                    made.append(save(plane, folder / f"{PLANE}-{file_name(group)}"))
        for group, points in curves(run).items():
            figure = training_curves.chart(group, points, run.primary)
            made.append(save(figure, folder / f"{file_name(group)}-{CURVES}"))
        if grown := growths(run.records):
            made.append(save(growth.chart(grown), folder / GROWTH))
    return made
