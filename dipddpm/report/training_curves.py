"""Learning curves: quality along training runs, and the updates and seconds that a level took. The seed is the unit.

A training run is one draw: its checkpoints are not independent, and neither are the images that it is tested on. So
images are averaged away first, and intervals and medians are over repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Record, Run
from dipddpm.measure.statistics import budget_to_reach, median_reached, repeats_interval

CURVES = "learning-curves"


@dataclass(frozen=True)
class Curve:
    """One arm over its training.

    Attributes:
        arm, part: its name, and its part in the comparison.
        repeats: which they are, in the order of the rows below.
        updates: (C,) checkpoints that every repeat has.
        values: {metric: (repeats, C)}, means over images.
        seconds: {stage: (repeats, C)} of the run so far.
        populations: {metric of a population: its interval (low, high) over the images at the last checkpoint}, of the
            first repeat.
        memory: peak bytes added, any stage.
        rate: images a second at the last checkpoint, NaN where it was not measured.
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
    """{group: its curves} of the records that are states of a training run, in order of first appearance."""
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
    # What a repeat lacks, or has under another title (a population of another size), is no column of the curve.
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
    """Every point of every curve, full precision: one row an arm and checkpoint."""
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
    """Updates and seconds until each level of the primary metric, one row an arm and level; right-censored.

    The median stands where at least half of the repeats got there; the restricted mean counts the others at the last
    checkpoint, a lower bound. Levels: the absolute ones, and the reference arm's last value less the margin.
    """
    rows = []
    for group, members in curves(run).items():
        named = {f"{level:g}": level for level in run.thresholds[run.primary]}
        reference = next((curve for curve in members if curve.part == "plain"), None)
        if reference:
            named[f"{reference.arm} at its end - {run.margin:g}"] = (
                float(reference.values[run.primary][:, -1].mean()) - run.margin
            )
        for curve in members:
            for name, level in named.items():
                rows.append(
                    {"group": group, "arm": curve.arm, "level": name, "value": level} | _reached(curve, run, level)
                )
    return pd.DataFrame(rows)


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


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``learning.csv`` and ``learning-levels.csv``; the paths, none where nothing was trained."""
    if not curves(run):
        return ()
    made = {"learning.csv": points(run), "learning-levels.csv": levels(run)}
    for name, table in made.items():
        write_text(folder / name, table.to_csv(index=False))
    return tuple(folder / name for name in made)


def sections(run: Run, figures: Sequence[Path] = ()) -> list[str]:
    """A section a group for the report: the curves as a table, the levels as another, the figure."""
    parts, reached = [], levels(run)
    for group, members in curves(run).items():
        repeats = len(members[0].total)
        parts += [
            f"## {group}",
            f"{_heading(run)} by updates, mean of {repeats} training run{'s' * (repeats > 1)}"
            + (", ± half a 95 % interval over them. " if repeats > 1 else " (no interval: the run is the unit). ")
            + "Seconds: of the whole run, the fitting of the priors of all training images included."
            + _of_populations(members),
            _curve_table(members, run),
        ]
        if any(curve.part == "treatment" for curve in members) and "training" in members[0].seconds:
            parts += ["Updates and seconds to a level (not reached: censored at the end of the run):",
                      _level_table(reached[reached["group"] == group])]  # fmt: skip
        parts += [f"![{group}]({f.as_posix()})" for f in figures if f.stem == f"{_file_name(group)}-{CURVES}"]
    return parts


def brief(run: Run) -> list[str]:
    """The curves for a terminal."""
    return [f"{group}\n\n{_curve_table(members, run, 'simple')}" for group, members in curves(run).items()]


def _curve_table(members: Sequence[Curve], run: Run, form: str = "pipe") -> str:
    reference = next((curve for curve in members if curve.part == "plain"), None)
    checkpoints = sorted({int(u) for curve in members for u in curve.updates})
    rows = []
    for curve in members:
        row: dict[str, object] = {"arm": curve.arm}
        early = f" (at {curve.updates[-1]})" if curve.updates[-1] < checkpoints[-1] else ""
        for at in checkpoints:
            where = np.flatnonzero(curve.updates == at)
            row[f"{at}"] = _estimate(curve.values[run.primary][:, where[0]], ".2f") if len(where) else ""
        if reference:
            row[f"Δ {reference.arm} at the end"] = "" if curve is reference else _paired(curve, reference, run.primary)
        if "x_0 psnr" in curve.values:
            row["x_0 PSNR at the end"] = _estimate(curve.values["x_0 psnr"][:, -1], ".2f") + early
        row |= {f"{title} at the end": _of_population(curve, title) + early for title in curve.populations}
        row |= {f"{stage} s": f"{seconds[:, -1].mean():.1f}{early}" for stage, seconds in curve.seconds.items()}
        if np.isfinite(curve.rate):
            row["images / s"] = f"{curve.rate:.0f}"
        if curve.memory:
            row["peak MiB"] = f"{curve.memory / 2**20:.0f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True, tablefmt=form)


def _level_table(reached: pd.DataFrame) -> str:
    rows = []
    for arm, mine in reached.groupby("arm", sort=False):
        row: dict[str, object] = {"arm": arm}
        for _, r in mine.iterrows():
            some = f", {100 * r['reached']:.0f} %" if 0 < r["reached"] < 1 else ""
            if pd.isna(r["median updates"]):
                row[r["level"]] = f"> {r['last updates']} (> {r['last seconds']:.1f} s){some}"
            else:
                row[r["level"]] = f"{r['median updates']:g} ({r['median seconds']:.1f} s){some}"
        rows.append(row)
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _estimate(values: np.ndarray, form: str) -> str:
    low, high = repeats_interval(values)
    return f"{values.mean():{form}}" + (f" ± {(high - low) / 2:{form}}" if np.isfinite(low) else "")


def _of_population(curve: Curve, title: str) -> str:
    """The last value; a single run has the interval over its images, several have that over runs."""
    values, (low, high) = curve.values[title][:, -1], curve.populations[title]
    return _estimate(values, ".3g") + (f" [{low:.3g}, {high:.3g}]" if len(values) == 1 else "")


def _of_populations(members: Sequence[Curve]) -> str:
    """What the columns of populations are, where there are any."""
    titles = dict.fromkeys(title.partition("-")[0] for curve in members for title in curve.populations)
    if not titles:
        return ""
    brackets = " In brackets: a 95 % interval over the photographs." if len(members[0].total) == 1 else ""
    return f" {' and '.join(titles)}: of the restorations of further test photographs; lower is better.{brackets}"


def _paired(curve: Curve, reference: Curve, metric: str) -> str:
    """Difference at the last checkpoint that both have, paired by repeat; it is named where either goes on."""
    repeats = [repeat for repeat in curve.repeats if repeat in reference.repeats]
    shared = sorted({*curve.updates.tolist()} & {*reference.updates.tolist()})
    if not repeats or not shared:
        return ""
    a, b = (
        c.values[metric][[c.repeats.index(repeat) for repeat in repeats], c.updates.tolist().index(shared[-1])]
        for c in (curve, reference)
    )
    at = "" if curve.updates[-1] == reference.updates[-1] == shared[-1] else f" (at {shared[-1]})"
    return _estimate(a - b, "+.2f").replace("± +", "± ") + at


def _heading(run: Run) -> str:
    unit = next((r.measures[run.primary].unit for r in run.records if run.primary in r.measures), "")
    return f"{run.primary.upper()} ({unit})" if unit else run.primary.upper()


def _file_name(group: str) -> str:
    from dipddpm.report.figures.canvas import file_name  # here: a report without figures needs no matplotlib

    return file_name(group)
