"""The leaderboard as numbers: one row per judge and arm, best first in each group, with all that the tables print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import Estimate, budget_to_reach, median_reached
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import Contrast, Sample, fill_intervals
from dipddpm.report.verdict import exchange_rate

CONTRASTS = ("control", "part", "comparator")


def frame(run: Run, comparisons: Comparisons | None = None) -> pd.DataFrame:
    """One row per judge and arm, at the budget and in the setting that the judge chose for the arm.

    Rows with a leak are ranked apart, after the honest ones. The interval of the judge's own metric holds for all rows
    of its table together; those of other metrics hold for one row. ``tested`` marks the treatment that the verdict
    rests on: its contrasts ``control`` and ``part`` have an interval and a p-value of their own, those of all other
    treatments hold for all of them together.

    Args:
        comparisons: of the run, where they are needed elsewhere too: what was computed once is not computed again.
    """
    comparisons = comparisons or Comparisons(run)
    rows = []
    for group in dict.fromkeys(sample.record.group for sample in comparisons.samples):
        for judge in run.judges:
            tested = comparisons.tested(group, judge)
            sound = [sample for sample in comparisons.chosen(group, judge) if not sample.diverged]
            for metric in dict.fromkeys(name for sample in sound for name in sample.values):
                fill_intervals(sound, metric)
            for leaking in (False, True):
                board = comparisons.board(group, judge, leaking)
                for sample, value, rank in zip(board.rows, board.values, board.ranks, strict=True):
                    row = {"group": group, "judge": judge, "rank": rank} | _row(sample, judge, value, comparisons)
                    row["tested"] = tested is not None and tested.treatment is sample
                    contrasts = board.contrasts.get(sample, {})
                    for name in CONTRASTS:
                        row |= _contrast(name, contrasts.get(name))
                    rows.append(row)
    table = pd.DataFrame(rows)
    return table if table.empty else table.astype({"rank": "Int64"})  # a row that diverged has none


def levels(run: Run, metric: str, others: Sequence[Sample] = ()) -> dict[str, float]:
    """The levels of a metric by name: the absolute ones, and ``noise-0.5``, relative to the comparator of a group.

    Where the comparator was not run the relative level is NaN, which nothing reaches.
    """
    named = {f"{level:g}": level for level in run.thresholds[metric]}
    if metric == run.primary:
        mine = [s for s in others if s.record.arm == run.comparator and s.record.seen_by(metric)]
        grid = [s for s in mine if s.record.budget in run.grid]
        best = max(grid, key=lambda s: s.record.budget, default=None)
        level = best.mean(metric) - best.sign(metric) * run.margin if best else float("nan")
        named[f"{run.comparator}-{run.margin:g}"] = level
    return named


def _row(sample: Sample, judge: str, value: Estimate, comparisons: Comparisons) -> dict:
    record, run = sample.record, comparisons.run
    others = comparisons.competing_with(sample)
    row: dict[str, object] = {
        "arm": record.arm, "role": record.role, "leak": record.leak, "budget": record.budget,
        "samples": record.axes.get("samples", 1), "setting": record.axes.get("setting"),
        "edges": "; ".join(record.edges), "n": len(record.items), "photographs": value.n,
        "repeats": len(sample.repeats), "diverged": sample.diverged, "training_seconds": record.training_seconds,
    }  # fmt: skip
    row |= {f"validation_{metric}": record.validation.get(metric) for metric in run.judges}
    for name in sample.values:
        estimate = value if name == judge or sample.diverged else sample.interval(name)
        row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    for name, (mean, low, high) in sample.populations.items():
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    row |= _cost(sample, others, run)
    row |= _reached(sample, judge, others, run)
    return row


def _cost(sample: Sample, others: Sequence[Sample], run: Run) -> dict:
    """Seconds, steps, rates and memory, in total and by stage."""
    record = sample.record
    row: dict[str, object] = {"seconds": sample.cost}
    row |= {f"seconds_{stage}": sample.seconds.get(stage, 0.0) for stage in run.stages}
    row |= {f"measured_seconds_{stage}": record.seconds.get(stage, 0.0) for stage in run.stages}
    row |= {f"units_{stage}": record.units.get(stage, 0.0) for stage in run.stages}
    row["units_evaluations_in_the_fit"] = record.units.get("evaluations in the fit", 0.0)
    iterations = record.units.get(run.stages[0], 0.0)
    rho = exchange_rate(sample, others, run) if iterations else 0.0
    row["nfe_equivalent"] = None if rho is None else record.budget + rho * iterations
    row["images_per_second"] = 1 / sample.cost if sample.cost else None
    for stage in run.stages:
        seconds = sample.seconds.get(stage)
        row[f"units_per_second_{stage}"] = record.units.get(stage, 0.0) / seconds if seconds else None
        row[f"peak_memory_bytes_{stage}"] = record.memory.get(stage)
    return row


def _reached(sample: Sample, judge: str, others: Sequence[Sample], run: Run) -> dict:
    """What it takes the arm to reach each level: share of images, and budget and seconds where half of them do."""
    row: dict[str, object] = {}
    mine = [s for s in others if s.record.arm == sample.record.arm and s.record.seen_by(judge)]
    own = {s.record.budget: s for s in mine}
    grid = {budget: s for budget, s in own.items() if budget in run.grid} or own
    for metric in run.thresholds:
        higher = sample.record.measures[metric].higher_is_better
        values_at = {budget: s.values[metric].mean(axis=0) for budget, s in grid.items()}
        for level, threshold in levels(run, metric, others).items():
            # All arms are censored at one budget. Censored at its own largest, an arm that was run at budget 0 alone
            # would have a restricted mean of 0 without reaching anything.
            reached = budget_to_reach(values_at, threshold, higher, last=max(run.grid, default=None))
            costs = [np.inf if budget is None else grid[budget].cost for budget in reached.budgets]
            name = f"{metric}>={level}"
            row |= {
                f"{name} reached": reached.fraction,
                f"{name} median": reached.median,
                f"{name} restricted mean": reached.restricted_mean,
                f"{name} median seconds": median_reached(costs),
            }
    return row


def _contrast(name: str, contrast: Contrast | None) -> dict:
    """The columns of one contrast; empty where there is none."""
    columns = [name, *(f"{name}_{part}" for part in ("seconds", "diff", "low", "high", "p", "detectable"))]
    if contrast is None:
        return dict.fromkeys(columns)
    d, rival = contrast.difference, contrast.rival
    named = f"{rival.record.arm}, {rival.record.budget} NFE" if rival.record.budget else rival.record.arm
    numbers = (rival.cost, d.mean, d.low, d.high, d.p, contrast.detectable)
    return dict(zip(columns, (named, *numbers), strict=True))
