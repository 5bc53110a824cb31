"""The section of the report on populations: every arm by its seconds, and each against the comparator.

Beside every value stands its floor, what real images score against real images of other photographs. Where the floor is
as large as the differences between the populations, the section says that it cannot tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from dipddpm.measure.escape import csv_of
from dipddpm.measure.files import write_text
from dipddpm.measure.record import Measure, Record, Run
from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.agreed_names import NOT_JUDGED
from dipddpm.report.costs import Paces
from dipddpm.report.population_contrasts import Difference, Population, against, bounded, cannot_tell
from dipddpm.report.tables import pipes
from dipddpm.report.tables import text as text_table


def of(records: Sequence[Record]) -> list[Record]:
    """The records of populations."""
    return [record for record in records if record.role == "population"]


def frame(run: Run) -> pd.DataFrame:
    """One row per population and repeat, in full precision, with intervals; seconds as charged."""
    rows, paces = [], Paces(run.records, run.paces)
    for r in of(run.records):
        row: dict[str, object] = {"group": r.group, "arm": r.arm, "leak": r.leak, "repeat": r.repeat, "nfe": r.budget}
        work = paces.work(r)
        row |= {"seconds": work.cost, **{f"seconds_{stage}": s for stage, s in work.seconds.items()}}
        for name, measure in r.measures.items():
            if measure.kind == "quality":
                row[name] = measure.values[0]
                if measure.interval:
                    row[f"{name}_low"], row[f"{name}_high"] = measure.interval
        rows.append(row)
    return pd.DataFrame(rows)


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``populations.csv``; its path, or none where there are no populations."""
    if not of(run.records):
        return ()
    file = folder / "populations.csv"
    write_text(file, csv_of(frame(run)))
    return (file,)


def sections(run: Run) -> list[str]:
    """Markdown: one table per group of populations, and one of every arm without a leak against the comparator."""
    parts = []
    for populations in groups(run):
        suffix, first = common_suffix(populations), populations[0].first
        parts.append(f"## {first.suite}, {first.group}")
        if why := not_judged(populations):
            parts.append(why)
            continue
        several = max(len(population.records) for population in populations) > 1
        parts += [f"FD is FD{suffix}, and so on."] if suffix else []
        parts += ["Mean of the repeats, with a 95 % interval over them (Student's t)."] if several else []
        if any(p.floor(title) for p in populations for title in p.measures):
            parts.append(
                "*Floor*: what real images score against real images of other photographs, in sets as large; mean of "
                "several draws."
            )
        parts.append(pipes(table_of(populations, suffix), keys=2))
        contrasts = [_row(p.first, made, suffix) for p in populations if (made := against(p, populations, run))]
        if contrasts:
            how = "over repeats, paired" if several else "of two populations resampled apart"
            parts += [
                f"Against a start from {run.comparator}, difference with a 95 % interval ({how}). Equal seconds: the "
                "best one that costs no more. *The best control*: of the other starts without a DIP that cost no more "
                "the one that is best by this very measure.",
                *(f"**{said}**" for said in cannot_tell(populations, run, suffix)),
                pipes(pd.DataFrame(contrasts), keys=2),
            ]
    return parts


def brief(run: Run) -> list[str]:
    """The tables for a terminal, with the columns that have an interval."""
    parts = []
    for populations in groups(run):
        suffix, first = common_suffix(populations), populations[0].first
        text = not_judged(populations)
        if not text:
            table = text_table(table_of(populations, suffix, brief=True), "simple")
            text = "\n\n".join([table, *cannot_tell(populations, run, suffix)])
        parts.append(f"{first.suite}, {first.group} ({suffix.lstrip('-')})\n\n{text}")
    return parts


def not_judged(populations: Sequence[Population]) -> str:
    """Why there is no table; "" where there is one."""
    reasons = [str(p.first.axes.get(NOT_JUDGED, "")) for p in populations]
    return f"No population was judged. {reasons[0]}." if all(reasons) else ""


def groups(run: Run) -> list[list[Population]]:
    """The populations of each group, the cheapest first."""
    together: dict[str, dict[tuple[str, int], list[Record]]] = {}
    paces = Paces(run.records, run.paces)
    for record in of(run.records):
        together.setdefault(record.group, {}).setdefault((record.arm, record.budget), []).append(record)
    made = [[Population(records, paces) for records in group.values()] for group in together.values()]
    return [sorted(group, key=lambda p: (p.cost, p.first.budget)) for group in made]


def common_suffix(populations: Sequence[Population]) -> str:
    """The suffix that most values of a group have after the name of their metric."""
    titles = Counter(_suffix(name) for p in populations for r in p.records for name in r.measures if "@" in name)
    return max(titles, key=titles.__getitem__, default="")


def table_of(populations: Sequence[Population], suffix: str, brief: bool = False) -> pd.DataFrame:
    rows = []
    for population in populations:
        r = population.first
        row = {"population": r.arm + (" (leaks)" if r.leak != "none" and r.budget else ""), "NFE": str(r.budget)}
        row["s / image"] = f"{population.cost:.3f}" if r.seconds else ""
        for name, measures in population.measures.items():
            usual = _suffix(name) in ("", suffix) and not brief  # at other N: in the CSV
            if usual or bounded(measures):
                floor = population.floor(name)
                beside = f" (floor {floor.values[0]:.3g})" if floor else ""
                row[name.removesuffix(suffix)] = _shown(list(measures.values())) + beside
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _suffix(title: str) -> str:
    """The part of a title after the name of the metric, which says what it was measured with.

    ``-embedded64@96-train`` for ``nearest-ratio-embedded64@96-train``, ``@50k-train`` for ``FID@50k-train``.
    """
    at = title.find("@")
    hyphen = title.rfind("-", 0, at)
    return title[hyphen if hyphen > 0 else at :] if at > 0 else ""


def _shown(measures: Sequence[Measure]) -> str:
    """The mean over repeats with an interval over repeats; a single one has the interval over its images, if any."""
    values = [measure.values[0] for measure in measures]
    bounds = repeats_interval(values) if len(values) > 1 else measures[0].interval
    return f"{fmean(values):.3g}" + (" [{:.3g}, {:.3g}]".format(*bounds) if bounds else "")


def _row(record: Record, made: Mapping[tuple[str, str], Difference | None], suffix: str) -> dict[str, str]:
    """A row of differences."""
    row = {"population": record.arm, "NFE": str(record.budget)}
    return row | {f"Δ {n.removesuffix(suffix)}, {at}": str(d or "no rival as cheap") for (n, at), d in made.items()}
