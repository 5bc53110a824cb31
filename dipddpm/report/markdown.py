"""The report: the leaderboard as Markdown for people, CSV (full precision) for machines, text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Record, Run
from dipddpm.measure.statistics import mean_interval
from dipddpm.report import populations
from dipddpm.report import training_curves as learning
from dipddpm.report.contrast import Sample, samples
from dipddpm.report.leaderboard import CONTRASTS, levels
from dipddpm.report.verdict import sentence, verdict


def write(run: Run, table: pd.DataFrame, folder: Path, figures: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Write ``leaderboard.md`` and ``leaderboard.csv`` from ``table = frame(run)``, ``populations.csv`` where images
    were generated, ``learning.csv`` and ``learning-levels.csv`` where networks were trained. Links ``figures``.

    Returns:
        the paths of what was written.
    """
    markdown_file, csv_file = folder / "leaderboard.md", folder / "leaderboard.csv"
    write_text(markdown_file, markdown(run, table, [figure.relative_to(folder) for figure in figures]))
    write_text(csv_file, table.to_csv(index=False))
    return markdown_file, csv_file, *populations.write(run.records, folder), *learning.write(run, folder)


def markdown(run: Run, table: pd.DataFrame, figures: Sequence[Path] = ()) -> str:
    """The report as Markdown."""
    parts = [f"# {run.title}", _preamble(run)]
    generated, taught = populations.sections(run), learning.sections(run, figures)
    stages = [r for r in run.records if r.role == "stage"]
    if table.empty and not generated and not taught and not stages:
        parts.append("No arms were run.")
    every = samples(run.records)
    for group in table["group"].unique() if not table.empty else ():
        rows = table[table["group"] == group]
        honest, leaking = rows[rows["leak"] == "none"], rows[rows["leak"] != "none"]
        parts.append(f"## {group}")
        if not honest.empty:
            members = [s for s in every if s.record.group == group]
            if (honest["role"] == "treatment").any():
                parts.append(sentence(verdict(members, run), run))
            parts.append(_table(honest, run))
            if durations := _durations(members, run):
                parts += [f"{run.primary.upper()} by duration of the first stage, alone → with the second:", durations]
        if not leaking.empty:
            parts += ["Rows that saw the photograph: what the same procedure makes of it. No claim rests on them, and "
                      "another procedure may do better without.", _table(leaking, run)]  # fmt: skip
        parts += [f"![{figure.stem}]({figure.as_posix()})" for figure in figures if figure.stem.endswith(f"-{group}")]
    parts += generated + taught
    for suite in dict.fromkeys(r.suite for r in stages):
        parts += [f"## {suite}", _stages([r for r in stages if r.suite == suite])]
        parts += [f"![{figure.stem}]({figure.as_posix()})" for figure in figures if figure.stem == suite]
    return "\n\n".join(parts) + "\n"


def terminal(run: Run, table: pd.DataFrame) -> str:
    """The report for a terminal: the columns that fit, and the verdicts."""
    generated, taught = populations.brief(run), learning.brief(run)
    if table.empty and not generated and not taught:
        stages = [r for r in run.records if r.role == "stage"]
        return _stages(stages, "simple") if stages else "No arms were run."
    parts, every = [], samples(run.records)
    for group in table["group"].unique() if not table.empty else ():
        rows = table[table["group"] == group]
        shown = pd.DataFrame(
            {
                "#": rows["rank"].where(rows["leak"] == "none", "leaks"),
                "arm": rows["arm"],
                _heading(run, run.primary): [_interval(row, run.primary, ".2f") for _, row in rows.iterrows()],
                "NFE": rows["budget"],
                "s/image": rows["seconds"].map("{:.3f}".format),
                "vs best cheap control": [_difference(row, "control") for _, row in rows.iterrows()],
                "vs prior alone": [_difference(row, "part") for _, row in rows.iterrows()],
            }
        )
        text = shown.to_markdown(index=False, disable_numparse=True, tablefmt="simple")
        parts.append(f"{group}\n\n{text}")
        if ((rows["leak"] == "none") & (rows["role"] == "treatment")).any():
            members = [s for s in every if s.record.group == group]
            parts.append(sentence(verdict(members, run), run).replace("**", ""))
    return "\n\n".join([*parts, *generated, *taught])


def _durations(members: Sequence[Sample], run: Run) -> str:
    """Families by duration: first stage alone, and the treatment at its chosen budget; "" if there is but one."""
    cells: dict[str, dict[float, dict[str, str]]] = {}
    for sample in members:
        record = sample.record
        asked = record.role in ("treatment", "part") and record.chosen and sample.plain
        if not asked or not record.units.get(run.stages[0]):
            continue
        estimate = mean_interval(sample.values[run.primary])
        at = cells.setdefault(record.family or "", {}).setdefault(record.units[run.stages[0]], {})
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


def _preamble(run: Run) -> str:
    lines = [f"- {name}: {value}" for name, value in run.settings.items()]
    m = run.machine
    lines.append(f"- machine: {m['gpu'] or m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}")
    if run.selected:
        lines.append(f"- **not the whole of the suites: {run.selected}**")
    if run.failed:
        lines.append(f"- **{run.failed} cells failed and are missing below**")
    lines += [
        "- One row an arm, at the budget and setting that did best on the validation images. NFE: network evaluations "
        "an image; every budget is an independent run. Seconds an image: DIP fit and diffusion together, measured in "
        "the run that gave the quality.",
        "- Intervals: 95 %, BCa bootstrap over images (and repeats), paired for differences. *Best cheap control*: no "
        "DIP, costs no more, best on the validation images. *Prior alone*: the same DIP without diffusion, of all "
        "durations and outputs that cost no more the best on the validation images.",
        "- Not reached is not dropped: medians are over all images, and stand only where at least half reached. "
        "Seconds to a level: what the first budget that reached it cost, DIP fit included.",
        f"- *{run.comparator}-{run.margin:g}*: {run.margin:g} less than {run.comparator} reaches at the largest budget "
        "that all arms have. Arms and settings are explained in bench/PROTOCOL.md.",
        "- PSNR rewards blur. Perceptual distance over a population is not part of this table.",
    ]
    return "\n".join(lines)


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


def _heading(run: Run, metric: str) -> str:
    unit = next((r.measures[metric].unit for r in run.records if metric in r.measures), "")
    return f"{metric.upper()} {unit}".strip()


def _table(table: pd.DataFrame, run: Run) -> str:
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


def _stages(records: Sequence[Record], form: str = "pipe") -> str:
    rows = []
    for record in records:
        row: dict[str, object] = {"task": record.group, "what": record.arm, **record.axes}
        for name, measure in record.measures.items():
            timed = measure.interval or measure.kind == "timing"  # one repeat that was disturbed must not show
            middle = median(measure.values) if timed else fmean(measure.values)
            text = f"{middle:.0f}" if measure.kind == "structure" and middle > 1000 else f"{middle:.4g}"
            if measure.interval:
                text += " [{:.4g}, {:.4g}]".format(*measure.interval)
            row[f"{name} ({measure.unit})" if measure.unit else name] = text
        for stage, added in record.memory.items():
            row[f"peak memory of {stage} (MiB)"] = f"{added / 2**20:.0f}"
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("").to_markdown(index=False, disable_numparse=True, tablefmt=form)
