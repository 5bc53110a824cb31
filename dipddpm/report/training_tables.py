"""Training curves as sections of the report, as text for a terminal and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dipddpm.measure.escape import csv_of
from dipddpm.measure.files import write_text
from dipddpm.measure.record import Run
from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.agreed_names import NOT_JUDGED
from dipddpm.report.file_names import file_name
from dipddpm.report.tables import pipes, text
from dipddpm.report.training_curves import CURVES, Curve, against_own_prior, curves, levels, plain_curve, points


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``training.csv`` and ``training-levels.csv``; their paths, none where nothing was trained."""
    if not curves(run):
        return ()
    made = {"training.csv": points(run), "training-levels.csv": levels(run)}
    for name, table in made.items():
        write_text(folder / name, csv_of(table))
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
            pipes(curve_frame(members, run)),
            *findings(members, run),
        ]
        if any(curve.part == "treatment" for curve in members) and "training" in members[0].seconds:
            mine = reached[reached["group"] == group]
            begin = " Levels begin at the best prior alone, since whatever is below is there before any training."
            said = "Updates and seconds to a level; one that was not reached is censored at the end of the run."
            parts += [said + begin * bool(mine["above"].any()), pipes(level_frame(mine))]
        parts += [f"![{group}]({f.as_posix()})" for f in figures if f.stem == f"{file_name(group)}-{CURVES}"]
    return parts


def brief(run: Run) -> list[str]:
    """The curves for a terminal."""
    return [f"{group}\n\n{text(curve_frame(members, run), 'simple')}" for group, members in curves(run).items()]


def findings(members: Sequence[Curve], run: Run) -> list[str]:
    """In words: whether a network that was trained with a prior is better than that prior alone; what the plain network
    reaches from another start; and why there is no judgement as a population where there is none."""
    said, metric = [], run.primary
    own = against_own_prior(members, metric)
    ahead = {arm: gain for arm, (_, gain) in own.items() if _low(gain) > 0}
    if own:
        listed = "; ".join(f"{arm} {_signed(gain)} against {prior}" for arm, (prior, gain) in own.items())
        names = ", ".join(ahead)
        verdict = f"Better than their own prior alone: {names}" if ahead else "No learned arm passes its own prior"
        said.append(f"**{verdict}** (at the end, in dB: {listed}).")
    plain, starts = plain_curve(members), [curve for curve in members if curve.use == "start"]
    if plain and starts:
        best = max(starts, key=lambda curve: float(curve.values[metric][:, -1].mean()))
        said.append(
            f"The weights of {plain.arm} at its end restore at {_estimate(plain.values[metric][:, -1], '.2f')} dB from "
            f"noise, and at {_estimate(best.values[metric][:, -1], '.2f')} dB when entered from a prior ({best.arm})."
        )
    said += _cannot_tell([curve for curve in members if curve.use == "trained"])
    records = [r for r in run.records if r.role == "training" and r.arm in {curve.arm for curve in members}]
    reasons = dict.fromkeys(str(r.axes[NOT_JUDGED]) for r in records if NOT_JUDGED in r.axes)
    return [*said, *(f"Restorations are not judged as a population: {why}." for why in reasons)]


def _cannot_tell(trained: Sequence[Curve]) -> list[str]:
    """A sentence for each measure of a population in which real images differ as much as the trained networks do."""
    said = []
    for title, (_, floor) in trained[0].floors.items() if trained else ():
        ends = [float(curve.values[title][:, -1].mean()) for curve in trained if title in curve.values]
        if len(ends) > 1 and max(ends) - min(ends) <= floor:
            said.append(
                f"{title} cannot tell the trained networks apart: they differ by up to {max(ends) - min(ends):.3g}, "
                f"real images from real images by up to {floor:.3g}."
            )
    return said


def _low(gains: np.ndarray) -> float:
    """The lower bound of a gain over repeats; of a single run, the gain."""
    return repeats_interval(gains)[0] if len(gains) > 1 else float(gains[0])


def _signed(gains: np.ndarray) -> str:
    return _estimate(gains, "+.2f").replace("± +", "± ")


def curve_frame(members: Sequence[Curve], run: Run) -> pd.DataFrame:
    """Quality of every arm at its checkpoints, and its state at the end, as texts."""
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
    return pd.DataFrame(rows).fillna("")


def level_frame(reached: pd.DataFrame) -> pd.DataFrame:
    """What it took each arm to reach each level, as texts."""
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
    return pd.DataFrame(rows)


def _estimate(values: np.ndarray, form: str) -> str:
    low, high = repeats_interval(values)
    return f"{values.mean():{form}}" + (f" ± {(high - low) / 2:{form}}" if np.isfinite(low) else "")


def _of_population(curve: Curve, title: str) -> str:
    """The value at the end. Several runs have an interval over runs; a single one has that over its images."""
    values, (low, high) = curve.values[title][:, -1], curve.populations[title]
    floor = f" (floor {curve.floors[title][0]:.3g})" if title in curve.floors else ""
    return _estimate(values, ".3g") + (f" [{low:.3g}, {high:.3g}]" if len(values) == 1 else "") + floor


def _of_populations(members: Sequence[Curve]) -> str:
    """A note on the columns of populations, "" where there are none."""
    titles = dict.fromkeys(title.partition("-")[0] for curve in members for title in curve.populations)
    if not titles:
        return ""
    brackets = " In brackets: a 95 % interval over the photographs." if len(members[0].total) == 1 else ""
    floor = " Floor: what real images score against real images of other photographs, in sets as large."
    floor *= any(curve.floors for curve in members)
    return (
        f" {' and '.join(titles)}: of the restorations of further test photographs; lower is better.{brackets}{floor}"
    )


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
    return _signed(a - b) + at


def _heading(run: Run) -> str:
    unit = next((r.measures[run.primary].unit for r in run.records if run.primary in r.measures), "")
    return f"{run.primary.upper()} ({unit})" if unit else run.primary.upper()
