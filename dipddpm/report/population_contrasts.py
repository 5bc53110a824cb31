"""Populations against the comparator and the best control, each difference beside the floor.

If real images of some photographs differ from real images of others by as much as two populations do, the difference
between the populations means nothing, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dipddpm.measure.record import Measure, Record, Run
from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.agreed_names import FLOOR
from dipddpm.report.costs import Paces

EQUAL_NFE, EQUAL_SECONDS, CONTROL = "equal NFE", "equal seconds", "the best control"


@dataclass(frozen=True)
class Population:
    """One arm at one budget: one record per repeat, and the paces that they are charged by."""

    records: Sequence[Record]
    paces: Paces

    @property
    def first(self) -> Record:
        """The record of the first repeat, for everything that repeats share."""
        return self.records[0]

    @property
    def cost(self) -> float:
        """Seconds per image, all stages, mean over repeats."""
        return fmean(self.paces.work(record).cost for record in self.records)

    @property
    def measures(self) -> dict[str, dict[int, Measure]]:
        """{title: {repeat: its measure}}, for measures of quality; without the floors."""
        made: dict[str, dict[int, Measure]] = {}
        for record in self.records:
            for name, measure in record.measures.items():
                if measure.kind == "quality" and not name.startswith(FLOOR):
                    made.setdefault(name, {})[record.repeat] = measure
        return made

    def floor(self, title: str) -> Measure | None:
        """What real images score in the measure of that title; the interval is of the smallest and largest draw."""
        return next((r.measures[FLOOR + title] for r in self.records if FLOOR + title in r.measures), None)


@dataclass(frozen=True)
class Difference:
    """How much an arm differs from a rival in one measure.

    Attributes:
        title: of the measure; at: what the rival is chosen by.
        value, low, high: the difference with its 95 % interval; good: whether a positive one is an improvement.
        rival: its name.
        floor: the largest of the draws of the floor, for distances; None without one.
    """

    title: str
    at: str
    value: float
    low: float
    high: float
    good: bool
    rival: str
    floor: float | None

    @property
    def hidden(self) -> bool:
        """Whether real images differ from other real images by as much as this difference."""
        return self.floor is not None and abs(self.value) <= self.floor

    def __str__(self) -> str:
        better = "better" if (self.value > 0) == self.good else "worse"
        judgement = better if self.low > 0 or self.high < 0 else "no difference"
        judgement = "cannot tell" if self.hidden else judgement
        return f"{self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}] {judgement} ({self.rival})"


def against(population: Population, every: Sequence[Population], run: Run) -> dict[tuple[str, str], Difference | None]:
    """{(title, how the rival is chosen): difference from it, None without a rival}; empty for the comparator, a leak,
    or real images."""
    record, made = population.first, dict[tuple[str, str], Difference | None]()
    if record.arm == run.comparator or record.leak != "none" or not record.seconds or not record.budget:
        return made
    for name in (name for name, measures in population.measures.items() if bounded(measures)):
        able = [p for p in every if p is not population and p.first.leak == "none" and _pairs(population, p, name)]
        plain = [p for p in able if p.first.arm == run.comparator]
        controls = [p for p in able if p.first.axes.get("part") == "control" and p.first.arm != run.comparator]
        made[name, EQUAL_NFE] = _difference(
            population, next((p for p in plain if p.first.budget == record.budget), None), name, EQUAL_NFE
        )
        made[name, EQUAL_SECONDS] = _difference(population, _best(population, plain, name), name, EQUAL_SECONDS)
        if controls and record.axes.get("part") != "control":
            made[name, CONTROL] = _difference(population, _best(population, controls, name), name, CONTROL)
    return made


def _best(population: Population, rivals: Sequence[Population], name: str) -> Population | None:
    """The best of the rivals that cost no more than a population."""
    cheap = [p for p in rivals if p.cost <= population.cost]
    return min(cheap, key=lambda p: fmean(_sign(m) * m.values[0] for m in p.measures[name].values()), default=None)


def _sign(measure: Measure) -> int:
    return -1 if measure.higher_is_better else 1


def _pairs(population: Population, rival: Population, name: str) -> list[tuple[Measure, Measure]]:
    """The measures of both populations, for the repeats that both have."""
    mine, theirs = population.measures.get(name, {}), rival.measures.get(name, {})
    return [(measure, theirs[repeat]) for repeat, measure in mine.items() if repeat in theirs]


def _difference(population: Population, rival: Population | None, name: str, at: str) -> Difference | None:
    if rival is None:
        return None
    pairs = _pairs(population, rival, name)
    differences = [a.values[0] - b.values[0] for a, b in pairs]
    a, b = pairs[0]
    d = fmean(differences)
    if len(pairs) > 1:
        low, high = repeats_interval(differences)
    else:
        low = d - math.hypot(a.values[0] - a.interval[0], b.interval[1] - b.values[0])
        high = d + math.hypot(a.interval[1] - a.values[0], b.values[0] - b.interval[0])
    real = population.floor(name)
    floor = None if real is None or a.higher_is_better else max(map(abs, [*real.values, *real.interval]))
    who = f"{rival.first.arm}, " if at == CONTROL else ""
    return Difference(name, at, d, low, high, a.higher_is_better, f"{who}{rival.first.budget} NFE", floor)


def cannot_tell(populations: Sequence[Population], run: Run, suffix: str) -> list[str]:
    """Sentences: which differences are no larger than what real images differ from real images by. Those from the
    comparator count in every arm, those from the best control in the treatments."""
    every = [(p.first.axes.get("part"), d) for p in populations for d in against(p, populations, run).values() if d]
    made = {
        ("an arm", run.comparator): [d for _, d in every if d.at != CONTROL and d.floor is not None],
        ("a treatment", CONTROL): [d for part, d in every if d.at == CONTROL and d.floor and part == "treatment"],
    }
    said = []
    for (arm, rival), those in made.items():
        hidden = [d for d in those if d.hidden]
        floors = ", ".join(f"{t.removesuffix(suffix)} {f:.3g}" for t, f in {d.title: d.floor for d in hidden}.items())
        if hidden and len(hidden) == len(those):
            said.append(f"This table cannot tell {arm} from {rival}: no difference is above the floor ({floors}).")
        elif hidden:
            said.append(f"{len(hidden)} of {len(those)} differences from {rival} are not above the floor ({floors}).")
    return said


def bounded(measures: Mapping[int, Measure]) -> bool:
    return all(measure.interval for measure in measures.values())
