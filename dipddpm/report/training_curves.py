"""Training curves: quality along training runs, and the updates and seconds that it took to reach a level.

A training run is one draw. Its checkpoints are not independent, and neither are the images that it is tested on. Images
are therefore averaged first, and intervals and medians are over the repeats of a run, which differ in their seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dipddpm.measure.record import Record, Run
from dipddpm.measure.statistics import budget_to_reach, median_reached, repeats_interval

CURVES = "training-curves"  # how the files of the figures end


@dataclass(frozen=True)
class Curve:
    """One arm over its training.

    Attributes:
        arm: its name.
        part: its part in the comparison: ``plain``, ``treatment`` or ``control``.
        repeats: which repeats these are, in the order of the rows below.
        updates: (C,) numbers of updates at the checkpoints that every repeat has.
        values: {metric: (repeats, C)}, means over images.
        seconds: {stage: (repeats, C)}, of the run so far.
        populations: {metric of a population: (low, high)}: the interval over images at the last checkpoint of the first
            repeat.
        memory: peak memory, the largest of all stages: bytes added.
        rate: images per second at the last checkpoint; NaN where it was not measured.
    """

    arm: str
    part: str
    repeats: tuple[int, ...]
    updates: np.ndarray
    values: Mapping[str, np.ndarray]
    seconds: Mapping[str, np.ndarray]
    populations: Mapping[str, Sequence[float]]
    memory: int
    rate: float

    @property
    def total(self) -> np.ndarray:
        """(repeats, C) seconds, all stages."""
        return np.sum(list(self.seconds.values()), axis=0)


def curves(run: Run) -> dict[str, list[Curve]]:
    """{group: its curves}, of all records of training runs, in order of first appearance."""
    members: dict[str, dict[str, dict[int, dict[int, Record]]]] = {}
    for record in run.records:
        if record.role == "training":
            arms = members.setdefault(record.group, {})
            arms.setdefault(record.arm, {}).setdefault(record.repeat, {})[record.budget] = record
    return {group: [_curve(name, arm) for name, arm in arms.items()] for group, arms in members.items()}


def _curve(name: str, repeats: Mapping[int, Mapping[int, Record]]) -> Curve:
    updates = sorted(set.intersection(*(set(repeat) for repeat in repeats.values())))
    table = [[repeat[at] for at in updates] for repeat in repeats.values()]
    first, last = table[0][0], [row[-1] for row in table]
    # A metric that one repeat lacks cannot be averaged. Its title may differ too: it names the size of a population.
    everywhere = set.intersection(*(set(r.measures) for row in table for r in row))
    metrics = [m for m in first.measures if first.measures[m].kind == "quality" and m in everywhere]
    rates = [np.mean(r.measures["images / s"].values) for r in last if "images / s" in r.measures]
    return Curve(
        name,
        str(first.axes.get("part", "")),
        tuple(repeats),
        np.array(updates),
        {m: np.array([[np.mean(r.measures[m].values) for r in row] for row in table]) for m in metrics},
        {stage: np.array([[r.seconds.get(stage, 0.0) for r in row] for row in table]) for stage in first.seconds},
        {m: last[0].measures[m].interval for m in metrics if last[0].measures[m].interval},
        max((added for row in table for r in row for added in r.memory.values()), default=0),
        float(np.mean(rates)) if rates else float("nan"),
    )


def points(run: Run) -> pd.DataFrame:
    """Every point of every curve in full precision: one row per arm and checkpoint."""
    rows = []
    for group, members in curves(run).items():
        for curve in members:
            for i, updates in enumerate(curve.updates.tolist()):
                row: dict[str, object] = {"group": group, "arm": curve.arm, "part": curve.part, "updates": updates}
                row["repeats"] = len(curve.total)
                for metric, values in curve.values.items():
                    low, high = repeats_interval(values[:, i])
                    row |= {metric: values[:, i].mean(), f"{metric}_low": low, f"{metric}_high": high}
                row |= {f"seconds_{stage}": s[:, i].mean() for stage, s in curve.seconds.items()}
                row |= {"seconds": curve.total[:, i].mean(), "peak_memory_bytes": curve.memory}
                rows.append(row | {"images_per_second": curve.rate})
    return pd.DataFrame(rows)


def levels(run: Run) -> pd.DataFrame:
    """Updates and seconds that it took to reach each level of the primary metric: one row per arm and level.

    Repeats that did not reach a level are censored at the last checkpoint. The median is given where at least half of
    the repeats reached it; the restricted mean counts the others at the last checkpoint and is a lower bound. Levels
    are the absolute ones, and the last value of the plain run less the margin.
    """
    rows = []
    for group, members in curves(run).items():
        named = {f"{level:g}": level for level in run.thresholds[run.primary]}
        if plain := plain_curve(members):
            last = float(plain.values[run.primary][:, -1].mean())
            named[f"{plain.arm} at its end - {run.margin:g}"] = last - run.margin
        for curve in members:
            for name, level in named.items():
                rows.append(
                    {"group": group, "arm": curve.arm, "level": name, "value": level} | _reached(curve, run, level)
                )
    return pd.DataFrame(rows)


def plain_curve(curves: Sequence[Curve]) -> Curve | None:
    """The curve of the run without any prior; None where there is none."""
    return next((curve for curve in curves if curve.part == "plain"), None)


def _reached(curve: Curve, run: Run, level: float) -> dict:
    values = curve.values[run.primary]
    reached = budget_to_reach({u: values[:, i].tolist() for i, u in enumerate(curve.updates.tolist())}, level)
    at = [curve.updates.tolist().index(b) if b is not None else None for b in reached.budgets]
    seconds = [curve.total[i, c] if c is not None else np.inf for i, c in enumerate(at)]
    return {
        "reached": reached.fraction,
        "median updates": reached.median,
        "restricted mean updates": reached.restricted_mean,
        "median seconds": median_reached(seconds),
        "last updates": int(curve.updates[-1]),
        "last seconds": float(curve.total[:, -1].mean()),
    }
