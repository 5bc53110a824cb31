"""The paces that seconds are charged by: a table for people, and one in full precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from dipddpm.measure.escape import csv_of
from dipddpm.measure.files import write_text
from dipddpm.measure.measured_paces import STEADY, Pace
from dipddpm.measure.record import Run
from dipddpm.report.costs import Paces

SINGLE = "median of single executions"
TURNS = "in turns"


def frame(run: Run) -> pd.DataFrame:
    """One row per kind of work that records are charged for: seconds per unit and image, with an interval where they
    were measured in turns."""
    paces, rows = Paces(run.records, run.paces), []
    for pace in paces.measured.values():
        low, high = pace.interval
        rows.append({
            "stage": pace.stage, "work": pace.key, "unit": pace.unit, "seconds": pace.seconds, "low": low, "high": high,
            "rounds": len(pace.samples), "batch": pace.batch, "steady": pace.is_steady, "measured": TURNS,
        })  # fmt: skip
    for (stage, key), own in paces.single.items():
        rows.append({
            "stage": stage, "work": key, "unit": "", "seconds": median(own), "low": None, "high": None,
            "rounds": len(own), "batch": None, "steady": None, "measured": SINGLE,
        })  # fmt: skip
    return pd.DataFrame(rows)


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``paces.csv``; its path, or none where nothing is charged by a pace."""
    if (table := frame(run)).empty:
        return ()
    file = folder / "paces.csv"
    write_text(file, csv_of(table))
    return (file,)


def sections(run: Run) -> list[str]:
    """Markdown: the table, folded; nothing where no paces were measured in turns."""
    if not run.paces:
        return []
    rows = [_row(row) for _, row in frame(run).iterrows()]
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    said = _unsteady(run.paces)
    return [
        "## Paces",
        "Seconds of this report are counted work times these, which were measured in turns, A B C ... A B C ..., on "
        "the machine named above: milliseconds per unit and image, the median of the rounds with an interval that "
        "holds it with 95 %, in batches of so many images.",
        *([f"**{said}**"] if said else []),
        f"<details><summary>{len(rows)} kinds of work</summary>\n\n{table}\n\n</details>",
    ]


def charged_by(run: Run) -> str:
    """How seconds are charged, as the end of a sentence on counted work; and whether the machine was too unsteady."""
    if not run.paces:
        return "the run's median price of single executions of each (no paces were measured in turns)"
    said = _unsteady(run.paces)
    return "the pace of each, measured in turns (see Paces)" + (f". **{said}**" if said else "")


def _unsteady(paces: Sequence[Pace]) -> str:
    """That the machine did not keep its pace; "" where it did."""
    restless = [pace for pace in paces if not pace.is_steady]
    if not restless:
        return ""
    worst = max(restless, key=lambda pace: pace.width)
    return (
        f"The machine was too unsteady for {len(restless)} of {len(paces)} paces: their intervals are wider than "
        f"{STEADY:.0%} of the median (the widest, {worst.width:.0%}: {worst.key}). Seconds that rest on them are not "
        "to be cited"
    )


def _row(row: pd.Series) -> dict[str, str]:
    turns = row["measured"] == TURNS
    return {
        "stage": row["stage"],
        "work": row["work"],
        "unit": row["unit"],
        "ms / unit": f"{1e3 * row['seconds']:.3g}",
        "interval": f"[{1e3 * row['low']:.3g}, {1e3 * row['high']:.3g}]" if turns else "",
        "rounds": str(row["rounds"]) if turns else f"{row['rounds']} single executions",
        "images": f"{row['batch']:.0f}" if turns else "",
        "": "" if row["steady"] or not turns else "unsteady",
    }
