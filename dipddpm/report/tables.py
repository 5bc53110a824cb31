"""Tables of the report: the leaderboard, quality by duration of the first stage, and the times of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

import pandas as pd

from dipddpm.measure.record import Record, Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import CONTRASTS, levels


def leaderboard_table(table: pd.DataFrame, run: Run) -> str:
    """Rows of the leaderboard as a table of Markdown; a contrast that no row has is left out."""
    rows = []
    for _, row in table.iterrows():
        shown: dict[str, object] = {"#": row["rank"], "arm": row["arm"]}
        for metric in run.thresholds:
            shown[_heading(run, metric)] = _interval(row, metric, ".2f" if metric == run.primary else ".3f")
        shown |= {"NFE": row["budget"], "s / image": f"{row['seconds']:.3f}", "setting": row["setting"] or ""}
        for metric in run.thresholds:
            names = list(levels(run, metric))
            shown[f"% reaching {metric} {' / '.join(names)}"] = _reached(row, metric, names)
        names = list(levels(run, run.primary))
        shown[f"median NFE to {run.primary} {' / '.join(names)}"] = _median(row, run.primary, names)
        seconds = _median(row, run.primary, names, "median seconds", ".3g")
        shown[f"median s to {run.primary} {' / '.join(names)}"] = seconds
        for name, heading in CONTRASTS.items():
            shown[f"Δ {heading}"] = _difference(row, name)
        rows.append(shown)
    columns = pd.DataFrame(rows)
    columns = columns.loc[:, [c for c in columns if c[0] != "Δ" or columns[c].any()]]
    return columns.to_markdown(index=False, disable_numparse=True)


def brief_leaderboard(table: pd.DataFrame, run: Run) -> str:
    """Rows of the leaderboard with the columns that fit into a terminal."""
    rows = [row for _, row in table.iterrows()]
    shown = pd.DataFrame(
        {
            "#": table["rank"].where(table["leak"] == "none", "leaks"),
            "arm": table["arm"],
            _heading(run, run.primary): [_interval(row, run.primary, ".2f") for row in rows],
            "NFE": table["budget"],
            "s/image": table["seconds"].map("{:.3f}".format),
            "vs best cheap control": [_difference(row, "control") for row in rows],
            "vs prior alone": [_difference(row, "part") for row in rows],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True, tablefmt="simple")


def duration_table(comparisons: Comparisons, group: str) -> str:
    """Families by duration: the first stage alone, and the treatment at its chosen budget; "" for a single duration."""
    run = comparisons.run
    first_stage = run.stages[0]
    cells: dict[str, dict[float, dict[str, str]]] = {}
    for sample in comparisons.in_group(group):
        record = sample.record
        asked = record.role in ("treatment", "part") and record.chosen and sample.on_duration_curve
        if not asked or not record.units.get(first_stage):
            continue
        estimate = sample.interval(run.primary)
        at = cells.setdefault(record.family or "", {}).setdefault(record.units[first_stage], {})
        at[record.role] = f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
    lengths = sorted({length for family in cells.values() for length in family})
    if len(lengths) < 2:
        return ""
    rows = [
        {"": name}
        | {
            f"{length:g}": f"{at.get(length, {}).get('part', '')} → {at.get(length, {}).get('treatment', '')}"
            for length in lengths
        }
        for name, at in cells.items()
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def stage_table(records: Sequence[Record], form: str = "pipe") -> str:
    """Times, counts and memory of stages, one row per record.

    Args:
        form: as ``tabulate`` names it.
    """
    rows = []
    for record in records:
        row: dict[str, object] = {"task": record.group, "what": record.arm, **record.axes}
        for name, measure in record.measures.items():
            timed = measure.interval or measure.kind == "timing"  # the median, because single repeats are disturbed
            middle = median(measure.values) if timed else fmean(measure.values)
            text = f"{middle:.0f}" if measure.kind == "structure" and middle > 1000 else f"{middle:.4g}"
            if measure.interval:
                text += " [{:.4g}, {:.4g}]".format(*measure.interval)
            row[f"{name} ({measure.unit})" if measure.unit else name] = text
        for stage, added in record.memory.items():
            row[f"peak memory of {stage} (MiB)"] = f"{added / 2**20:.0f}"
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("").to_markdown(index=False, disable_numparse=True, tablefmt=form)


def _heading(run: Run, metric: str) -> str:
    unit = next((r.measures[metric].unit for r in run.records if metric in r.measures), "")
    return f"{metric.upper()} {unit}".strip()


def _interval(row: Mapping, name: str, form: str) -> str:
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


def _difference(row: Mapping, name: str) -> str:
    if pd.isna(row[f"{name}_diff"]):
        return ""
    return f"{row[f'{name}_diff']:+.2f} [{row[f'{name}_low']:+.2f}, {row[f'{name}_high']:+.2f}] ({row[name]})"


def _reached(row: Mapping, metric: str, names: Sequence[str]) -> str:
    return " / ".join(f"{100 * row[f'{metric}>={name} reached']:.0f}" for name in names)


def _median(row: Mapping, metric: str, names: Sequence[str], of: str = "median", form: str = "g") -> str:
    medians = [row[f"{metric}>={name} {of}"] for name in names]
    return " / ".join("not reached" if pd.isna(m) else f"{m:{form}}" for m in medians)
