"""The section of the report on populations: every arm by its seconds, and each against the comparator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Measure, Record, Run
from dipddpm.measure.statistics import repeats_interval


@dataclass(frozen=True)
class Population:
    """One arm at one budget: one record per repeat."""

    records: Sequence[Record]

    @property
    def first(self) -> Record:
        """The record of the first repeat, for everything that repeats share."""
        return self.records[0]

    @property
    def cost(self) -> float:
        """Seconds per image, all stages, mean over repeats."""
        return fmean(record.cost for record in self.records)

    @property
    def measures(self) -> dict[str, dict[int, Measure]]:
        """{title: {repeat: its measure}}, for measures of quality."""
        made: dict[str, dict[int, Measure]] = {}
        for record in self.records:
            for name, measure in record.measures.items():
                if measure.kind == "quality":
                    made.setdefault(name, {})[record.repeat] = measure
        return made


def of(records: Sequence[Record]) -> list[Record]:
    """The records of populations."""
    return [record for record in records if record.role == "population"]


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per population and repeat, in full precision, with intervals."""
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
    """Write ``populations.csv``; its path, or none where there are no populations."""
    if not of(records):
        return ()
    file = folder / "populations.csv"
    write_text(file, frame(records).to_csv(index=False))
    return (file,)


def sections(run: Run) -> list[str]:
    """Markdown: one table per group of populations, and one of every arm without a leak against the comparator."""
    parts = []
    for populations in _groups(run):
        suffix, first = _common(populations), populations[0].first
        several = max(len(population.records) for population in populations) > 1
        parts += [f"## {first.suite}, {first.group}"]
        parts += [f"FD is FD{suffix}, and so on."] if suffix else []
        parts += ["Mean of the repeats, with a 95 % interval over them (Student's t)."] if several else []
        parts.append(_table(populations, suffix).to_markdown(index=False, disable_numparse=True))
        contrasts = [row for p in populations if (row := _against(p, populations, run.comparator, suffix))]
        if contrasts:
            how = "over repeats, paired" if several else "of two populations resampled apart"
            parts += [
                f"Against a start from {run.comparator}, difference with a 95 % interval ({how}). Equal seconds: the "
                "best one that costs no more.",
                pd.DataFrame(contrasts).to_markdown(index=False, disable_numparse=True),
            ]
    return parts


def brief(run: Run) -> list[str]:
    """The tables for a terminal, with the columns that have an interval."""
    parts = []
    for populations in _groups(run):
        suffix, first = _common(populations), populations[0].first
        table = _table(populations, suffix, brief=True)
        text = table.to_markdown(index=False, disable_numparse=True, tablefmt="simple")
        parts.append(f"{first.suite}, {first.group} ({suffix.lstrip('-')})\n\n{text}")
    return parts


def _groups(run: Run) -> list[list[Population]]:
    """The populations of each group, the cheapest first."""
    together: dict[str, dict[tuple[str, int], list[Record]]] = {}
    for record in of(run.records):
        together.setdefault(record.group, {}).setdefault((record.arm, record.budget), []).append(record)
    made = [[Population(records) for records in group.values()] for group in together.values()]
    return [sorted(group, key=lambda p: (p.cost, p.first.budget)) for group in made]


def _common(populations: Sequence[Population]) -> str:
    """The suffix that most values of a group have after the name of their metric."""
    titles = Counter(_suffix(name) for p in populations for r in p.records for name in r.measures if "@" in name)
    return max(titles, key=titles.__getitem__, default="")


def _table(populations: Sequence[Population], suffix: str, brief: bool = False) -> pd.DataFrame:
    rows = []
    for population in populations:
        r = population.first
        row = {"population": r.arm + (" (leaks)" if r.leak != "none" and r.budget else ""), "NFE": str(r.budget)}
        row["s / image"] = f"{population.cost:.3f}" if r.seconds else ""
        for name, measures in population.measures.items():
            usual = _suffix(name) in ("", suffix) and not brief  # at other N: in the CSV
            if usual or _bounded(measures):
                row[name.removesuffix(suffix)] = _shown(list(measures.values()))
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _bounded(measures: Mapping[int, Measure]) -> bool:
    return all(measure.interval for measure in measures.values())


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


def _against(
    population: Population, every: Sequence[Population], comparator: str, suffix: str
) -> dict[str, str] | None:
    """A row of differences from the comparator; None for the comparator, a leak, or real images."""
    record = population.first
    if record.arm == comparator or record.leak != "none" or not record.seconds or not record.budget:
        return None
    row: dict[str, str] = {"population": record.arm, "NFE": str(record.budget)}
    for name in (name for name, measures in population.measures.items() if _bounded(measures)):
        rivals = [p for p in every if p.first.arm == comparator and _pairs(population, p, name)]
        equal = [p for p in rivals if p.first.budget == record.budget]
        cheap = [p for p in rivals if p.cost <= population.cost]
        best = min(cheap, key=lambda p: fmean(_sign(m) * m.values[0] for m in p.measures[name].values()), default=None)
        short = name.removesuffix(suffix)
        row[f"Δ {short}, equal NFE"] = _difference(population, equal[0] if equal else None, name)
        row[f"Δ {short}, equal seconds"] = _difference(population, best, name)
    return row


def _sign(measure: Measure) -> int:
    return -1 if measure.higher_is_better else 1


def _pairs(population: Population, rival: Population, name: str) -> list[tuple[Measure, Measure]]:
    """The measures of both populations, for the repeats that both have."""
    mine, theirs = population.measures.get(name, {}), rival.measures.get(name, {})
    return [(measure, theirs[repeat]) for repeat, measure in mine.items() if repeat in theirs]


def _difference(population: Population, rival: Population | None, name: str) -> str:
    if rival is None:
        return "no rival as cheap"
    pairs = _pairs(population, rival, name)
    differences = [a.values[0] - b.values[0] for a, b in pairs]
    a, b = pairs[0]
    d = fmean(differences)
    if len(pairs) > 1:
        low, high = repeats_interval(differences)
    else:
        low = d - math.hypot(a.values[0] - a.interval[0], b.interval[1] - b.values[0])
        high = d + math.hypot(a.interval[1] - a.values[0], b.values[0] - b.interval[0])
    judgement = "no difference" if not (low > 0 or high < 0) else "worse" if d * _sign(a) > 0 else "better"
    return f"{d:+.3g} [{low:+.3g}, {high:+.3g}] {judgement} ({rival.first.budget} NFE)"
