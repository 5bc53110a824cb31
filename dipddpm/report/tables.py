"""Tables of the report: the leaderboard, steps to a level, quality by duration of the first stage, times of stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

import pandas as pd

from dipddpm.measure.record import UNPAIRED, Record, Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.costs import Paces
from dipddpm.report.leaderboard import levels
from dipddpm.report.metric_names import metric_name
from dipddpm.report.sentence import claim, difference, digits
from dipddpm.report.verdict import standing, verdict

WIDEST = 8  # columns of a table that is still read; a wider one is split


def pipes(frame: pd.DataFrame, keys: int = 1) -> str:
    """A frame as Markdown. One that is too wide becomes several tables, each with the same first ``keys`` columns."""
    columns = list(frame.columns)
    room = max(1, WIDEST - keys)
    blocks = (
        [columns[i : i + room] for i in range(keys, len(columns), room)] if len(columns) > WIDEST else [columns[keys:]]
    )
    tables = [frame[[*columns[:keys], *block]] for block in blocks]
    return "\n\n".join(text(table) for table in tables)


def text(frame: pd.DataFrame, form: str = "pipe") -> str:
    """A frame of texts as ``tabulate`` writes it in a form."""
    return frame.astype(object).fillna("").to_markdown(index=False, disable_numparse=True, tablefmt=form)


def leaderboard_table(rows: pd.DataFrame, run: Run, judge: str, tablefmt: str = "pipe", brief: bool = False) -> str:
    """Rows of one judge's leaderboard as a table. The treatment that the verdict tested is bold in Markdown.

    Args:
        tablefmt: as ``tabulate`` names it.
        brief: only the first columns: place, arm, evaluations, what the judges say, and seconds.
    """
    shown = leaderboard_frame(rows, run, judge, bold=tablefmt == "pipe")
    if brief:
        judges = [_heading(run, metric) for metric in run.judges if _heading(run, metric) in shown]
        shown = shown[["#", "arm", "NFE", *judges, "s / image"]]
    return text(shown, tablefmt)


def leaderboard_frame(rows: pd.DataFrame, run: Run, judge: str, bold: bool = False) -> pd.DataFrame:
    """Rows of one judge's leaderboard as texts.

    Args:
        bold: mark the treatment that the verdict tested, as Markdown does.
    """
    made, populations = [], _population_metrics(rows, run)
    for _, row in rows.iterrows():
        name = row["arm"] + (" (learned)" if row["training_seconds"] else "")
        shown: dict[str, object] = {
            "#": "diverged" if row["diverged"] else row["rank"] if row["leak"] == "none" else "leaks",
            "arm": f"**{name}**" if row["tested"] and bold else name,
            "NFE": _evaluations(row),
        }
        for metric in (judge, *(other for other in run.judges if other != judge)):
            if metric in row:
                shown[_heading(run, metric)] = _value(row, run, metric, with_interval=metric == judge)
        for metric in populations:
            heading = _heading(run, metric).replace(metric_name(metric), metric)  # a title keeps its letters
            shown[heading] = "" if pd.isna(row.get(metric)) else f"{row[metric]:.4f}"
        form = ".3f" if row["seconds"] >= 0.1 else ".2g"
        shown |= {"s / image": f"{row['seconds']:{form}}", "setting": row["setting"] or ""}
        made.append(shown)
    return pd.DataFrame(made)


def _population_metrics(rows: pd.DataFrame, run: Run) -> list[str]:
    """Metrics of the restorations of a row as a population, where any of these rows has one."""
    competing = [record for record in run.records if record.role not in UNPAIRED]
    names = dict.fromkeys(name for r in competing for name, measure in r.measures.items() if measure.interval)
    return [name for name in names if name in rows and rows[name].notna().any()]


def verdict_frame(comparisons: Comparisons) -> pd.DataFrame:
    """One row for each task and judge, as texts: what is claimed, and the two contrasts that it rests on."""
    run, rows = comparisons.run, []
    for group in dict.fromkeys(sample.record.group for sample in comparisons.samples):
        if not any(comparisons.candidates(group, judge) for judge in run.judges):
            continue
        found = verdict(comparisons, group)
        row = {"task": group, "does a DIP start pay?": claim(found).replace("**", "")}
        for tested in found.tested if found else ():
            against = {
                role: f"{difference(c)}: {standing(c)}" if c else "none was run" for role, c in tested.contrasts.items()
            }
            rows.append(row | {
                "judge": metric_name(tested.judge), "against the best control": against["control"],
                "against the best DIP alone": against["part"], "photographs": str(found.n if found else ""),
            })  # fmt: skip
            row = dict.fromkeys(row, "")
        if found is None:
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


def levels_frame(rows: pd.DataFrame, run: Run) -> pd.DataFrame:
    """What it took each arm to reach the levels of the primary metric: share of images, and median NFE and seconds."""
    made, names = [], list(levels(run, run.primary))
    for _, row in rows.iterrows():
        shown = {"arm": row["arm"]}
        for name in names:
            reached = row[f"{run.primary}>={name} reached"]
            budget, seconds = (row[f"{run.primary}>={name} {of}"] for of in ("median", "median seconds"))
            median_of = "" if pd.isna(budget) else f": {budget:g} NFE, {seconds:.3g} s"
            shown[name] = f"{100 * reached:.0f} %{median_of}"
        made.append(shown)
    return pd.DataFrame(made)


def duration_frame(comparisons: Comparisons, group: str) -> pd.DataFrame:
    """Families by duration: the first stage alone, and the treatment at its chosen budget; empty for a single duration.

    A column has durations that cost about the same; what they are differs from family to family.
    """
    run = comparisons.run
    first_stage = run.stages[0]
    cells: dict[str, dict[float, dict[str, str]]] = {}
    for sample in comparisons.chosen(group, run.primary):
        record = sample.record
        asked = record.role in ("treatment", "part") and sample.on_duration_curve
        if not asked or not record.units.get(first_stage):
            continue
        at = cells.setdefault(record.family or "", {}).setdefault(record.units[first_stage], {})
        at[record.role] = "diverged" if sample.diverged else f"{sample.mean(run.primary):.2f}"
    if max((len(at) for at in cells.values()), default=0) < 2:
        return pd.DataFrame()
    rows = [
        {"": name}
        | {
            str(place): f"{length:g}: {at[length].get('part', '')} → {at[length].get('treatment', '')}"
            for place, length in enumerate(sorted(at), 1)
        }
        for name, at in cells.items()
    ]
    return pd.DataFrame(rows).fillna("")


def stage_frame(records: Sequence[Record], paces: Paces | None = None) -> pd.DataFrame:
    """Times, counts and memory of stages as texts, one row per record; those of a group stand together.

    Args:
        paces: of the run: beside the seconds of a single execution stand those that its work is charged.
    """
    rows, groups = [], list(dict.fromkeys(record.group for record in records))
    for record in sorted(records, key=lambda record: groups.index(record.group)):
        row: dict[str, object] = {"task": record.group, "what": record.arm, **record.axes}
        for name, measure in record.measures.items():
            timed = measure.interval or measure.kind == "timing"  # the median, because single repeats are disturbed
            middle = median(measure.values) if timed else fmean(measure.values)
            text = f"{middle:.0f}" if measure.kind == "structure" and middle > 1000 else f"{middle:.4g}"
            if all(map(math.isfinite, measure.interval)) and measure.interval:
                text += " [{:.4g}, {:.4g}]".format(*measure.interval)
            row[f"{name} ({measure.unit})" if measure.unit else name] = text
        if record.pace and paces:
            row["charged (s/image)"] = f"{paces.work(record).cost:.4g}"
        for stage, added in record.memory.items():
            row[f"peak memory of {stage} (MiB)"] = f"{added / 2**20:.0f}"
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("")


def _heading(run: Run, metric: str) -> str:
    measure = next((r.measures[metric] for r in run.records if metric in r.measures), None)
    lower = measure is not None and not measure.higher_is_better
    return " ".join([metric_name(metric), *([measure.unit] if measure and measure.unit else []), *["↓"] * lower])


def _evaluations(row: Mapping) -> str:
    """NFE per image; where the answer is a mean of samples, samples times the NFE of each."""
    budget, samples = int(row["budget"]), int(row["samples"])
    return f"{samples} x {budget // samples}" if samples > 1 else str(budget)


def _value(row: Mapping, run: Run, metric: str, with_interval: bool) -> str:
    if row["diverged"]:  # a mean over the others would compare them with other images
        return f"{row['diverged']} of {row['n'] * row['repeats']} images diverged" if with_interval else ""
    unit = next((r.measures[metric].unit for r in run.records if metric in r.measures), "")
    form = digits(unit)
    text = f"{row[metric]:{form}}"
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return text + f" [{low:{form}}, {high:{form}}]" if with_interval and not pd.isna(low) else text
