"""What a submission quotes from a report: the rows of every leaderboard, the tested contrasts, the verdicts.

All of it follows from the records, so that it can be derived again and held against what is quoted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from dipddpm.measure.record import Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.verdict import verdict

ROW = ("group", "judge", "rank", "arm", "role", "leak", "budget", "photographs", "seconds", "tested")
CONTRASTS = tuple(f"{rival}{of}" for rival in ("control", "part") for of in ("", "_diff", "_low", "_high", "_p"))
# A bootstrap on another machine adds in another order, and counts one resample more or less.
RELATIVE, ABSOLUTE, OF_P = 1e-6, 1e-9, 2e-3


def quoted(run: Run, comparisons: Comparisons | None = None) -> dict:
    """Rows and verdicts of a run, as JSON can hold them: None stands for what is not known."""
    comparisons = comparisons or Comparisons(run)
    table = frame(run, comparisons)
    groups = [] if table.empty else list(dict.fromkeys(table["group"]))
    judged = {
        group: verdict(comparisons, group)
        for group in groups
        if any(comparisons.candidates(group, judge) for judge in run.judges)
    }
    rows = [_row(row) for row in ([] if table.empty else table.to_dict("records"))]
    return {"verdicts": {group: found.outcome if found else "" for group, found in judged.items()}, "rows": rows}


def _row(row: Mapping) -> dict:
    judge = row["judge"]
    made = {name: row[name] for name in ROW}
    made |= {"mean": row[judge], "low": row[f"{judge}_low"], "high": row[f"{judge}_high"]}
    if row["tested"]:
        made |= {name: row[name] for name in CONTRASTS}
    return {name: _plain(value) for name, value in made.items()}


def _plain(value: object) -> object:
    """A number of numpy or pandas as one of Python; None for NaN."""
    if value is None or value is pd.NA:
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def disagreements(claimed: Mapping, found: Mapping) -> Iterator[str]:
    """Where what a submission quotes is not what its records give, each in a line."""
    for group in dict.fromkeys([*claimed.get("verdicts", {}), *found["verdicts"]]):
        a, b = (side.get("verdicts", {}).get(group, "absent") for side in (claimed, found))
        if a != b:
            yield f"verdict of {group}: quoted {a!r:.60}, its records give {b!r}"
    quotes, derived = (_by_name(side.get("rows", [])) for side in (claimed, found))
    for name in dict.fromkeys([*quotes, *derived]):
        if name not in derived or name not in quotes:
            where = "quoted, not in its records" if name in quotes else "in its records, not quoted"
            yield f"row {' / '.join(map(str, name))}: {where}"
            continue
        for column, value in derived[name].items():
            if not _same(column, quotes[name].get(column, "absent"), value):
                yield (
                    f"row {' / '.join(map(str, name))}: {column} quoted as {quotes[name].get(column, 'absent')!r:.40}, "
                    f"its records give {value!r}"
                )


def _by_name(rows: object) -> dict[tuple, Mapping]:
    listed = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return {(row.get("group"), row.get("judge"), row.get("arm")): row for row in listed}


def _same(column: str, a: object, b: object) -> bool:
    number = isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool)
    if not number or isinstance(b, bool):
        return a == b
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=OF_P if column.endswith("_p") else ABSOLUTE)  # type: ignore
