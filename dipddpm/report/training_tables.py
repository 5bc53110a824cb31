"""Training curves as sections of the report, as text for a terminal and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Run
from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.file_names import file_name
from dipddpm.report.training_curves import CURVES, Curve, curves, levels, plain_curve, points


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``training.csv`` and ``training-levels.csv``; their paths, none where nothing was trained."""
    if not curves(run):
        return ()
    made = {"training.csv": points(run), "training-levels.csv": levels(run)}
    for name, table in made.items():
        write_text(folder / name, table.to_csv(index=False))
    return tuple(folder / name for name in made)


def sections(run: Run, figures: Sequence[Path] = ()) -> list[str]:
    """One section per group: the curves as a table, what each level took as another one, and the figure."""
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
        parts += [f"![{group}]({f.as_posix()})" for f in figures if f.stem == f"{file_name(group)}-{CURVES}"]
    return parts


def brief(run: Run) -> list[str]:
    """The curves for a terminal."""
    return [f"{group}\n\n{_curve_table(members, run, 'simple')}" for group, members in curves(run).items()]


def _curve_table(members: Sequence[Curve], run: Run, form: str = "pipe") -> str:
    plain = plain_curve(members)
    checkpoints = sorted({int(u) for curve in members for u in curve.updates})
    rows = []
    for curve in members:
        row: dict[str, object] = {"arm": curve.arm}
        early = f" (at {curve.updates[-1]})" if curve.updates[-1] < checkpoints[-1] else ""
        for at in checkpoints:
            where = np.flatnonzero(curve.updates == at)
            row[f"{at}"] = _estimate(curve.values[run.primary][:, where[0]], ".2f") if len(where) else ""
        if plain:
            row[f"Δ {plain.arm} at the end"] = "" if curve is plain else _paired(curve, plain, run.primary)
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
    """The value at the end. Several runs have an interval over runs; a single one has that over its images."""
    values, (low, high) = curve.values[title][:, -1], curve.populations[title]
    return _estimate(values, ".3g") + (f" [{low:.3g}, {high:.3g}]" if len(values) == 1 else "")


def _of_populations(members: Sequence[Curve]) -> str:
    """A note on the columns of populations, "" where there are none."""
    titles = dict.fromkeys(title.partition("-")[0] for curve in members for title in curve.populations)
    if not titles:
        return ""
    brackets = " In brackets: a 95 % interval over the photographs." if len(members[0].total) == 1 else ""
    return f" {' and '.join(titles)}: of the restorations of further test photographs; lower is better.{brackets}"


def _paired(curve: Curve, plain: Curve, metric: str) -> str:
    """Difference at the last checkpoint that both have, paired by repeat.

    The checkpoint is named where it is not the last one of both.
    """
    repeats = [repeat for repeat in curve.repeats if repeat in plain.repeats]
    shared = sorted({*curve.updates.tolist()} & {*plain.updates.tolist()})
    if not repeats or not shared:
        return ""
    a, b = (
        c.values[metric][[c.repeats.index(repeat) for repeat in repeats], c.updates.tolist().index(shared[-1])]
        for c in (curve, plain)
    )
    at = "" if curve.updates[-1] == plain.updates[-1] == shared[-1] else f" (at {shared[-1]})"
    return _estimate(a - b, "+.2f").replace("± +", "± ") + at


def _heading(run: Run) -> str:
    unit = next((r.measures[run.primary].unit for r in run.records if run.primary in r.measures), "")
    return f"{run.primary.upper()} ({unit})" if unit else run.primary.upper()
