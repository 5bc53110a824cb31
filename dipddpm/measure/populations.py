"""The section of the report on populations: every arm by its seconds, and each against the reference arm."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Measure, Record, Run


def of(records: Sequence[Record]) -> list[Record]:
    """The records of populations."""
    return [record for record in records if record.role == "population"]


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a population, full precision, intervals included."""
    rows = []
    for r in of(records):
        row: dict[str, object] = {"group": r.group, "arm": r.arm, "leak": r.leak, "repeat": r.repeat, "nfe": r.budget}
        row |= {"seconds": r.cost, **{f"seconds_{stage}": s for stage, s in r.seconds.items()}}
        for name, measure in r.measures.items():
            if measure.kind == "quality":
                row[name] = measure.values[0]
                if measure.interval:
                    row[f"{name}_low"], row[f"{name}_high"] = measure.interval
        rows.append(row)
    return pd.DataFrame(rows)


def write(records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Write ``populations.csv``, where there are any; its path."""
    if not of(records):
        return ()
    file = folder / "populations.csv"
    write_text(file, frame(records).to_csv(index=False))
    return (file,)


def sections(run: Run) -> list[str]:
    """Markdown: the table of each group of populations, and every honest arm against the reference arm."""
    parts = []
    for records in _groups(run):
        suffix = _common(records)
        parts += [f"## {records[0].suite}, {records[0].group}"]
        parts += [f"FD is FD{suffix}, and so on."] if suffix else []
        parts.append(_table(records, suffix).to_markdown(index=False, disable_numparse=True))
        if contrasts := [row for r in records if (row := _against(r, records, run.reference, suffix))]:
            parts += [
                f"Against a start from {run.reference}, difference with a 95 % interval (of two populations resampled "
                "apart). Equal seconds: the best one that costs no more.",
                pd.DataFrame(contrasts).to_markdown(index=False, disable_numparse=True),
            ]
    return parts


def brief(run: Run) -> list[str]:
    """For a terminal: the columns that have an interval."""
    parts = []
    for records in _groups(run):
        suffix = _common(records)
        table = _table(records, suffix, brief=True)
        text = table.to_markdown(index=False, disable_numparse=True, tablefmt="simple")
        parts.append(f"{records[0].suite}, {records[0].group} ({suffix.lstrip('-')})\n\n{text}")
    return parts


def _groups(run: Run) -> list[list[Record]]:
    """The populations of each group, the cheapest first."""
    together: dict[str, list[Record]] = {}
    for record in sorted(of(run.records), key=lambda r: (r.cost, r.budget)):
        together.setdefault(record.group, []).append(record)
    return list(together.values())


def _common(records: Sequence[Record]) -> str:
    """How most of the values of a group are titled, past their name."""
    titles = Counter(_suffix(name) for r in records for name in r.measures if "@" in name)
    return max(titles, key=titles.__getitem__, default="")


def _table(records: Sequence[Record], suffix: str, brief: bool = False) -> pd.DataFrame:
    rows = []
    for r in records:
        row = {"population": r.arm + (" (leaks)" if r.leak != "none" and r.budget else ""), "NFE": str(r.budget)}
        row["s / image"] = f"{r.cost:.3f}" if r.seconds else ""
        for name, measure in r.measures.items():
            usual = _suffix(name) in ("", suffix) and not brief  # at other N: in the CSV
            if measure.kind == "quality" and (measure.interval or usual):
                row[name.removesuffix(suffix)] = _shown(measure)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _suffix(title: str) -> str:
    """Of ``nearest-ratio-embedded64@96-train`` the part that says how, ``-embedded64@96-train``; of ``FID@50k-train``
    what follows the name."""
    at = title.find("@")
    hyphen = title.rfind("-", 0, at)
    return title[hyphen if hyphen > 0 else at :] if at > 0 else ""


def _shown(measure: Measure) -> str:
    value = f"{measure.values[0]:.3g}"
    return value + (f" [{measure.interval[0]:.3g}, {measure.interval[1]:.3g}]" if measure.interval else "")


def _against(record: Record, every: Sequence[Record], reference: str, suffix: str) -> dict[str, str] | None:
    """A row of differences for an arm that does not leak; None for the reference itself and for what is no arm."""
    if record.arm == reference or record.leak != "none" or not record.seconds or not record.budget:
        return None
    row: dict[str, str] = {"population": record.arm, "NFE": str(record.budget)}
    for name in (name for name, measure in record.measures.items() if measure.interval):
        rivals = [r for r in every if r.arm == reference and r.repeat == record.repeat and name in r.measures]
        equal = [r for r in rivals if r.budget == record.budget]
        cheap = [r for r in rivals if r.cost <= record.cost]
        best = min(cheap, key=lambda r: r.measures[name].values[0] * _sign(r.measures[name]), default=None)
        short = name.removesuffix(suffix)
        row[f"Δ {short}, equal NFE"] = _difference(record, equal[0] if equal else None, name)
        row[f"Δ {short}, equal seconds"] = _difference(record, best, name)
    return row


def _sign(measure: Measure) -> int:
    return -1 if measure.higher_is_better else 1


def _difference(record: Record, rival: Record | None, name: str) -> str:
    if rival is None:
        return "no rival as cheap"
    a, b = record.measures[name], rival.measures[name]
    d = a.values[0] - b.values[0]
    below = math.hypot(a.values[0] - a.interval[0], b.interval[1] - b.values[0])
    above = math.hypot(a.interval[1] - a.values[0], b.values[0] - b.interval[0])
    worse = d * _sign(a) > 0
    told = "no difference" if d - below <= 0 <= d + above else "worse" if worse else "better"
    return f"{d:+.3g} [{d - below:+.3g}, {d + above:+.3g}] {told} ({rival.budget} NFE)"
