"""The leaderboard as numbers: one row an arm, best first in each group, every figure that the tables print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import budget_to_reach, holm, mean_interval, median_reached
from dipddpm.report.contrast import Contrast, Sample, against_best_control, against_part, at_equal_budget, samples
from dipddpm.report.verdict import exchange_rate

CONTRASTS = {
    "control": "best cheap control at equal cost",
    "part": "prior alone at equal cost",
    "comparator": "noise at equal NFE",
}


def frame(run: Run) -> pd.DataFrame:
    """One row an arm, at the budget that was chosen for it; rows that leak are ranked apart, after the honest ones."""
    every = samples(run.records)
    rows = [_row(sample, every, run) for sample in every if sample.record.chosen]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    table[["control_p_holm", "part_p_holm"]] = float("nan")
    for _, members in table[table["control_p"].notna()].groupby("group"):  # one family a group, that of its verdict
        tried = [
            (i, name) for name in ("control", "part") for i in members.index if pd.notna(members.at[i, f"{name}_p"])
        ]
        for (i, name), p in zip(tried, holm([members.at[i, f"{name}_p"] for i, name in tried]), strict=True):
            table.at[i, f"{name}_p_holm"] = p
    higher = every[0].record.measures[run.primary].higher_is_better
    table["leaks"] = table["leak"] != "none"
    order = {group: position for position, group in enumerate(dict.fromkeys(table["group"]))}
    table["order"] = table["group"].map(order)
    table = table.sort_values(["order", "leaks", run.primary], ascending=[True, True, not higher], kind="stable")
    table.insert(1, "rank", table.groupby(["order", "leaks"]).cumcount() + 1)
    return table.drop(columns=["leaks", "order"]).reset_index(drop=True)


def _row(sample: Sample, every: Sequence[Sample], run: Run) -> dict:
    record = sample.record
    rivals = [s for s in every if s.record.group == record.group and s.record.suite == record.suite]
    row: dict[str, object] = {
        "group": record.group, "arm": record.arm, "role": record.role, "leak": record.leak, "budget": record.budget,
        "n": len(record.items), "repeats": len(sample.values[run.primary]), "validation": record.validation,
        "setting": record.axes.get("setting"),
    }  # fmt: skip
    for name, values in sample.values.items():
        estimate = mean_interval(values)
        row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    row["seconds"] = sample.cost
    row |= {f"seconds_{stage}": record.seconds.get(stage, 0.0) for stage in run.stages}
    row |= {f"units_{stage}": record.units.get(stage, 0.0) for stage in run.stages}
    iterations = record.units.get(run.stages[0], 0.0)
    rho = exchange_rate(sample, rivals, run) if iterations else 0.0
    row["nfe_equivalent"] = None if rho is None else record.budget + rho * iterations
    row["images_per_second"] = 1 / sample.cost if sample.cost else None
    for stage in run.stages:
        seconds = record.seconds.get(stage)
        row[f"units_per_second_{stage}"] = record.units.get(stage, 0.0) / seconds if seconds else None
        row[f"peak_memory_bytes_{stage}"] = record.memory.get(stage)
    own = {s.record.budget: s for s in rivals if s.record.arm == record.arm}
    grid = {budget: s for budget, s in own.items() if budget in run.grid} or own
    for metric in run.thresholds:
        higher = record.measures[metric].higher_is_better
        values_at = {budget: s.values[metric].mean(axis=0) for budget, s in grid.items()}
        for level, threshold in levels(run, metric, rivals).items():
            # All arms are censored at one budget: else an arm that has but its prior alone would restrict to 0.
            reached = budget_to_reach(values_at, threshold, higher, last=max(run.grid, default=None))
            costs = [np.inf if budget is None else grid[budget].cost for budget in reached.budgets]
            name = f"{metric}>={level}"
            row |= {
                f"{name} reached": reached.fraction,
                f"{name} median": reached.median,
                f"{name} restricted mean": reached.restricted_mean,
                f"{name} median seconds": median_reached(costs),
            }
    contrasts: dict[str, Contrast | None] = dict.fromkeys(CONTRASTS)
    if record.role == "treatment":
        contrasts = {
            "control": against_best_control(sample, rivals, run.primary),
            "part": against_part(sample, rivals, run.primary),
            "comparator": at_equal_budget(sample, rivals, run.primary, run.comparator),
        }
    for name, contrast in contrasts.items():
        row |= _columns(name, contrast)
    return row


def levels(run: Run, metric: str, rivals: Sequence[Sample] = ()) -> dict[str, float]:
    """The levels of a metric by name: the absolute ones, and ``noise-0.5`` relative to the reference arm of a group.

    The relative level is NaN, which nothing reaches, where the reference arm was not run.
    """
    named = {f"{level:g}": level for level in run.thresholds[metric]}
    if metric == run.primary:
        grid = [s for s in rivals if s.record.arm == run.comparator and s.record.budget in run.grid]
        best = max(grid, key=lambda s: s.record.budget, default=None)
        sign = 1 if best is None or best.record.measures[metric].higher_is_better else -1
        level = float(best.values[metric].mean()) - sign * run.margin if best else float("nan")
        named[f"{run.comparator}-{run.margin:g}"] = level
    return named


def _columns(name: str, contrast: Contrast | None) -> dict:
    columns = [name, *(f"{name}_{part}" for part in ("seconds", "diff", "low", "high", "p"))]
    if contrast is None:
        return dict.fromkeys(columns)
    d, rival = contrast.difference, contrast.rival
    named = f"{rival.record.arm}, {rival.record.budget} NFE" if rival.record.budget else rival.record.arm
    return dict(zip(columns, (named, rival.cost, d.mean, d.low, d.high, contrast.p), strict=True))
