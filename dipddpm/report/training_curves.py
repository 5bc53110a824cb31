"""Training curves: quality along training runs, and the updates and seconds that it took to reach a level.

A training run is one draw. Its checkpoints are not independent, and neither are the images that it is tested on. Images
are therefore averaged first, and intervals and medians are over the repeats of a run, which differ in their seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dipddpm.measure.record import Measure, Record, Run
from dipddpm.measure.statistics import budget_to_reach, median_reached, repeats_interval
from dipddpm.report.agreed_names import FLOOR

STEPS = (0.0, 0.5, 1.0, 2.0)  # levels above the best prior alone, in dB
CURVES = "training-curves"  # how the files of the figures end


@dataclass(frozen=True)
class Curve:
    """One arm over its training.

    Attributes:
        arm: its name.
        part: its part in the comparison: ``plain``, ``treatment``, ``control`` or ``prior`` (a prior alone).
        given: the prior that it is given with every image.
        use: ``trained`` with it; ``start``, the plain network entered from it; or ``alone``.
        repeats: which repeats these are, in the order of the rows below.
        updates: (C,) numbers of updates at the checkpoints that every repeat has.
        values: {metric: (repeats, C)}, means over images.
        seconds: {stage: (repeats, C)}, of the run so far.
        populations: {metric of a population: (low, high)}: the interval over images at the last checkpoint of the first
            repeat.
        floors: {metric of a population: what real images score, mean and largest of several draws}.
        memory: peak memory, the largest of all stages: bytes added.
        rate: images per second at the last checkpoint; NaN where it was not measured.
    """

    arm: str
    part: str
    given: str
    use: str
    repeats: tuple[int, ...]
    updates: np.ndarray
    values: Mapping[str, np.ndarray]
    seconds: Mapping[str, np.ndarray]
    populations: Mapping[str, Sequence[float]]
    floors: Mapping[str, tuple[float, float]]
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
    quality = [m for m in first.measures if first.measures[m].kind == "quality" and m in everywhere]
    metrics = [m for m in quality if not m.startswith(FLOOR)]
    rates = [np.mean(r.measures["images / s"].values) for r in last if "images / s" in r.measures]
    return Curve(
        name,
        str(first.axes.get("part", "")),
        str(first.axes.get("given", "")),
        str(first.axes.get("use", "trained")),
        tuple(repeats),
        np.array(updates),
        {m: np.array([[np.mean(r.measures[m].values) for r in row] for row in table]) for m in metrics},
        {stage: np.array([[r.seconds.get(stage, 0.0) for r in row] for row in table]) for stage in first.seconds},
        {m: last[0].measures[m].interval for m in metrics if last[0].measures[m].interval},
        {m.removeprefix(FLOOR): _floor(first.measures[m]) for m in quality if m.startswith(FLOOR)},
        max((added for row in table for r in row for added in r.memory.values()), default=0),
        float(np.mean(rates)) if rates else float("nan"),
    )


def _floor(measure: Measure) -> tuple[float, float]:
    return measure.values[0], max(map(abs, [*measure.values, *measure.interval]))


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
                row |= {f"{FLOOR}{metric}": mean for metric, (mean, _) in curve.floors.items()}
                row |= {f"seconds_{stage}": s[:, i].mean() for stage, s in curve.seconds.items()}
                row |= {"seconds": curve.total[:, i].mean(), "peak_memory_bytes": curve.memory}
                rows.append(row | {"images_per_second": curve.rate})
    return pd.DataFrame(rows)


def levels(run: Run) -> pd.DataFrame:
    """Updates and seconds that it took to reach each level of the primary metric: one row per arm and level.

    Repeats that did not reach a level are censored at the last checkpoint. The median is given where at least half of
    the repeats reached it; the restricted mean counts the others at the last checkpoint and is a lower bound.

    A level below the best prior alone is no achievement: it is there before any training. So levels are that prior and
    some steps above it, and the last value of the plain run less the margin where that is above (``above`` is true).
    Where no prior stands alone, they are the absolute levels and the latter.
    """
    rows, alone = [], best_priors_alone(run)
    for group, members in curves(run).items():
        named = {f"{level:g}": level for level in run.thresholds[run.primary]}
        best = alone.get(_task(group))
        if best:
            base = float(best.values[run.primary][:, -1].mean())
            named = {f"{base + s:.2f} ({best.arm}" + (f" + {s:g})" if s else ")"): base + s for s in STEPS}
        if plain := plain_curve(members):
            last = float(plain.values[run.primary][:, -1].mean()) - run.margin
            if not best or last > base:
                named[f"{plain.arm} at its end - {run.margin:g}"] = last
        for curve in (curve for curve in members if curve.use != "alone"):
            for name, level in named.items():
                at = {"group": group, "arm": curve.arm, "level": name, "value": level, "above": bool(best)}
                rows.append(at | _reached(curve, run, level))
    return pd.DataFrame(rows)


def best_priors_alone(run: Run) -> dict[str, Curve]:
    """{task: of the priors alone the best by the primary metric}, of the tasks that have any."""
    found: dict[str, Curve] = {}
    for group, members in curves(run).items():
        for curve in (curve for curve in members if curve.use == "alone"):
            best = found.get(_task(group), curve)
            found[_task(group)] = max(best, curve, key=lambda c: float(c.values[run.primary][:, -1].mean()))
    return found


def against_own_prior(members: Sequence[Curve], metric: str) -> dict[str, tuple[str, np.ndarray]]:
    """{arm: (its prior alone, by how much it is better at its end, one value per repeat)}, of every network that was
    trained with a prior that stands alone beside it."""
    alone = {curve.given: curve for curve in members if curve.use == "alone"}
    made: dict[str, tuple[str, np.ndarray]] = {}
    for curve in members:
        if curve.use == "trained" and (prior := alone.get(curve.given)):
            repeats = [r for r in curve.repeats if r in prior.repeats]
            ends = [c.values[metric][[c.repeats.index(r) for r in repeats], -1] for c in (curve, prior)]
            made |= {curve.arm: (prior.arm, ends[0] - ends[1])} if repeats else {}
    return made


def _task(group: str) -> str:
    """The task of a group: ``inpaint`` for ``training, inpaint`` and ``start by training, inpaint``."""
    return group.rpartition(", ")[2]


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
