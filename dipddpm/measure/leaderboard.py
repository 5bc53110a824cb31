"""The leaderboard: a table a group, best first, as Markdown for people and CSV (full precision) for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dipddpm.measure.contrast import Contrast, against_best_control, against_part
from dipddpm.measure.files import write_text
from dipddpm.measure.record import Record, Run
from dipddpm.measure.statistics import budget_to_reach, holm, mean_interval


def frame(run: Run) -> pd.DataFrame:
    """One row an arm (at the budget chosen for it) with every number of the leaderboard, best first in each group."""
    rows = [_row(record, run) for record in run.records if record.chosen and record.role != "stage"]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    for _, members in table[table["control_p"].notna()].groupby("group"):
        # One family of tests a table: every treatment against its control.
        table.loc[members.index, "control_p_holm"] = holm(members["control_p"].tolist())
    higher = next(r.measures[run.primary].higher_is_better for r in run.records if run.primary in r.measures)
    table["leaks"] = table["leak"] != "none"
    table = table.sort_values(["group", "leaks", run.primary], ascending=[True, True, not higher], kind="stable")
    table.insert(1, "rank", table.groupby(["group", "leaks"]).cumcount() + 1)
    return table.drop(columns="leaks").reset_index(drop=True)


def _row(record: Record, run: Run) -> dict:
    rivals = [r for r in run.records if r.group == record.group]
    row: dict[str, object] = {
        "group": record.group, "arm": record.arm, "role": record.role, "leak": record.leak, "budget": record.budget,
        "n": len(record.items), "validation": record.validation, "setting": record.axes.get("setting"),
    }  # fmt: skip
    for name, measure in record.measures.items():
        estimate = mean_interval(measure.values)
        row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    row["seconds"] = record.cost
    row |= {f"seconds_{stage}": seconds for stage, seconds in record.seconds.items()}
    same_arm = {r.budget: r for r in rivals if r.arm == record.arm and r.suite == record.suite}
    grid = {b: r for b, r in same_arm.items() if b in run.grid} or same_arm
    for metric, thresholds in run.thresholds.items():
        values = {b: r.measures[metric].values for b, r in grid.items()}
        for threshold in thresholds:
            reached = budget_to_reach(values, threshold, record.measures[metric].higher_is_better)
            name = f"{metric}>={threshold:g}"
            row |= {
                f"{name} reached": reached.fraction,
                f"{name} median": reached.median,
                f"{name} restricted mean": reached.restricted_mean,
            }
    treatment = record.role == "treatment"
    row |= _columns("control", against_best_control(record, rivals, run.primary) if treatment else None)
    row |= _columns("part", against_part(record, rivals, run.primary) if treatment else None)
    return row


def _columns(name: str, contrast: Contrast | None) -> dict:
    if contrast is None:
        return dict.fromkeys([name, f"{name}_seconds", f"{name}_diff", f"{name}_low", f"{name}_high", f"{name}_p"])
    d = contrast.difference
    rival = f"{contrast.rival.arm}, {contrast.rival.budget} NFE" if contrast.rival.budget else contrast.rival.arm
    return {
        name: rival, f"{name}_seconds": contrast.rival.cost, f"{name}_diff": d.mean, f"{name}_low": d.low,
        f"{name}_high": d.high, f"{name}_p": contrast.p,
    }  # fmt: skip


def answer(table: pd.DataFrame, unit: str, level: float = 0.05) -> str:
    """The answer of one group in a sentence, from its rows alone.

    Judged is the treatment with the best mean. A gain or loss counts if its interval excludes 0 and its p-value,
    adjusted for all the treatments that were tried, is below ``level``.
    """
    treatments = table[(table["role"] == "treatment") & table["control_diff"].notna()]
    if treatments.empty:
        return "No treatment was run together with a control as cheap: no answer."
    best = treatments.iloc[0]

    def against(name: str, p: float, rival: str) -> tuple[str, str]:
        if pd.isna(best[f"{name}_diff"]):
            return "unknown", f"{rival}: not measured"
        low, high = best[f"{name}_low"], best[f"{name}_high"]
        sign = "better" if low > 0 and p < level else "worse" if high < 0 and p < level else "not told apart"
        text = f"{best[f'{name}_diff']:+.2f} {unit} [{low:+.2f}, {high:+.2f}] against {rival} ({best[name]})"
        return sign, text

    control, control_text = against("control", best["control_p_holm"], "the best cheap control at equal cost")
    part, part_text = against("part", best["part_p"], "its prior alone at equal cost")
    if control == "better" and part == "better":
        verdict = "It pays"
    elif "worse" in (control, part):
        verdict = "It does not pay"
    elif control == "better":
        verdict = "Not shown to pay: the prior alone does as well"
    else:
        verdict = "Inconclusive"
    named = f"{best['arm']} with {best['budget']} NFE"
    return f"**{verdict}.** Best treatment: {named}; {control_text}; {part_text}; n = {best['n']}."


def markdown(run: Run) -> str:
    """The leaderboard as Markdown."""
    table = frame(run)
    parts = [f"# {run.title}", _preamble(run)]
    if table.empty:
        return "\n\n".join([*parts, "Nothing was measured."]) + "\n"
    unit = next(r.measures[run.primary].unit for r in run.records if run.primary in r.measures)
    for group, rows in table.groupby("group"):
        honest, leaking = rows[rows["leak"] == "none"], rows[rows["leak"] != "none"]
        parts += [f"## {group}", answer(honest, unit), _table(honest, run)]
        if not leaking.empty:
            parts += ["Bounds, which saw the photograph and compete with nothing above:", _table(leaking, run)]
    stages = [r for r in run.records if r.role == "stage"]
    if stages:
        parts += ["## What each stage costs", _stages(stages)]
    return "\n\n".join(parts) + "\n"


def _preamble(run: Run) -> str:
    lines = [f"- {name}: {value}" for name, value in run.settings.items()]
    m = run.machine
    lines.append(f"- machine: {m['gpu'] or m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}")
    if run.failed:
        lines.append(f"- **{run.failed} cells failed and are missing below**")
    lines.append(
        "- intervals are 95 % (BCa bootstrap over images); NFE = network evaluations an image; every budget is an "
        "independent run; settings and the budget shown were chosen on the validation images; seconds an image are "
        "prior and diffusion together"
    )
    return "\n".join(lines)


def _interval(row: Mapping, name: str, form: str) -> str:
    if row[name] is None or pd.isna(row[name]):
        return ""
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


def _difference(row: Mapping, name: str) -> str:
    if row[name] is None or pd.isna(row[f"{name}_diff"]):
        return ""
    return f"{row[f'{name}_diff']:+.2f} [{row[f'{name}_low']:+.2f}, {row[f'{name}_high']:+.2f}] ({row[name]})"


def _reached(row: Mapping, metric: str, thresholds: Sequence[float]) -> str:
    return " / ".join(f"{100 * row[f'{metric}>={t:g} reached']:.0f}" for t in thresholds)


def _median(row: Mapping, metric: str, thresholds: Sequence[float]) -> str:
    medians = [row[f"{metric}>={t:g} median"] for t in thresholds]
    return " / ".join("not reached" if m is None or pd.isna(m) else f"{m:g}" for m in medians)


def _table(table: pd.DataFrame, run: Run) -> str:
    metrics = [m for m in run.thresholds if m in table.columns]
    rows = []
    for _, row in table.iterrows():
        shown: dict[str, object] = {"#": row["rank"], "arm": row["arm"]}
        for metric in metrics:
            shown[_heading(run, metric)] = _interval(row, metric, ".2f" if metric == run.primary else ".3f")
        shown |= {"NFE": row["budget"], "s / image": f"{row['seconds']:.3f}"}
        for metric, thresholds in run.thresholds.items():
            levels = " / ".join(f"{t:g}" for t in thresholds)
            shown[f"% reaching {metric} {levels}"] = _reached(row, metric, thresholds)
        levels = " / ".join(f"{t:g}" for t in run.thresholds[run.primary])
        shown[f"median NFE to {run.primary} {levels}"] = _median(row, run.primary, run.thresholds[run.primary])
        shown["against best cheap control at equal cost"] = _difference(row, "control")
        shown["against prior alone at equal cost"] = _difference(row, "part")
        rows.append(shown)
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _heading(run: Run, metric: str) -> str:
    unit = next((r.measures[metric].unit for r in run.records if metric in r.measures), "")
    return f"{metric.upper()} {unit}".strip()


def _stages(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        throughput = {f"{name} / s": f"{count / record.cost:.1f}" for name, count in record.units.items()}
        rows.append(
            {
                "stage": record.suite,
                "task": record.group,
                "what": record.arm,
                "s / image": f"{record.cost:.3f}",
                **throughput,
                "peak memory MiB": f"{max(record.memory.values(), default=0) / 2**20:.0f}",
                **record.axes,
            }
        )
    return pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True)


def write(run: Run, folder: Path) -> tuple[Path, Path]:
    """Write ``leaderboard.md`` and ``leaderboard.csv`` (the same rows, full precision); their paths."""
    markdown_file, csv_file = folder / "leaderboard.md", folder / "leaderboard.csv"
    write_text(markdown_file, markdown(run))
    write_text(csv_file, frame(run).to_csv(index=False))
    return markdown_file, csv_file


def terminal(run: Run) -> str:
    """The leaderboard for a terminal: the columns that fit."""
    table = frame(run)
    if table.empty:
        return "Nothing was measured."
    unit = next(r.measures[run.primary].unit for r in run.records if run.primary in r.measures)
    parts = []
    for group, rows in table.groupby("group"):
        shown = pd.DataFrame(
            {
                "#": rows["rank"].where(rows["leak"] == "none", "bound"),
                "arm": rows["arm"],
                _heading(run, run.primary): [_interval(row, run.primary, ".2f") for _, row in rows.iterrows()],
                "NFE": rows["budget"],
                "s/image": rows["seconds"].map("{:.3f}".format),
                "vs best cheap control": [_difference(row, "control") for _, row in rows.iterrows()],
                "vs prior alone": [_difference(row, "part") for _, row in rows.iterrows()],
            }
        )
        text = shown.to_markdown(index=False, disable_numparse=True, tablefmt="simple")
        parts.append(f"{group}\n\n{text}\n\n{answer(rows[rows['leak'] == 'none'], unit).replace('**', '')}")
    return "\n\n".join(parts)
