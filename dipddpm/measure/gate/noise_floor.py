"""The noise floor: how the gate judges unchanged code, and code that was made worse on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dipddpm.measure.gate.baseline import Section, entries_of
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.instruments.paired_timing import judge, steady
from dipddpm.measure.record import Measure, Run

SLOWDOWNS = (1.1, 1.3, 1.6, 2.0)
LOSSES = (0.05, 0.1, 0.2, 0.3, 0.5)  # how much worse, in units of the first metric that has thresholds
DRAWS = 10
LEVEL = 0.95


@dataclass(frozen=True)
class Repeated:
    """How repeated measurements of one unchanged time differ from each other.

    Attributes:
        n: how many there are.
        typical: 95 % of all pairs of steady measurements differ by less than this factor, which is above 1.
        largest: all pairs do. Both are NaN where there are not two steady measurements.
        inconclusive: share of the measurements that were unsteady.
        alarms: false alarms. Each measurement is compared with the next, and the one after that serves as the rerun;
            this counts the comparisons that end as a regression.
    """

    n: int
    typical: float
    largest: float
    inconclusive: float
    alarms: int


def repeated(measures: Sequence[Measure], allowed: float) -> Repeated:
    """Compare measurements of the same time, from several runs, with each other (an A/A test)."""
    quiet = [measure for measure in measures if steady(measure)]
    medians = np.array([np.median(np.asarray(measure.values)) for measure in quiet])
    pairs = ~np.eye(len(medians), dtype=bool)
    ratios = np.divide.outer(medians, medians)[pairs] if len(medians) > 1 else np.array([np.nan])
    factors = np.maximum(ratios, 1 / ratios)
    n = len(measures)
    judged = [
        judge(measures[i], replace(measures[(i + 1) % n], reruns=(measures[(i + 2) % n],)), allowed)[0]
        for i in range(n)
        if steady(measures[i])
    ]
    return Repeated(
        n, float(np.quantile(factors, LEVEL)), float(factors.max()), 1 - len(quiet) / n, judged.count("slower")
    )


def slowed(measure: Measure, factor: float) -> Measure:
    """The measure as it would be if the stage took ``factor`` times as long."""
    return replace(measure, values=[factor * value for value in measure.values])


def slowdowns_caught(measures: Sequence[Measure], factor: float, allowed: float, draws: int = DRAWS) -> int | None:
    """How many of ``draws`` comparisons with a slowed measurement, and a slowed rerun, end as a regression.

    Only steady measurements take part: an unsteady one is refused as a baseline, and measured again by the gate. None
    if there are fewer than three.
    """
    rng, caught = np.random.default_rng(0), 0
    quiet = [measure for measure in measures if steady(measure)]
    if len(quiet) < 3:
        return None
    for _ in range(draws):
        before, now, again = (quiet[i] for i in rng.choice(len(quiet), 3, replace=False))
        caught += judge(before, replace(slowed(now, factor), reruns=(slowed(again, factor),)), allowed)[0] == "slower"
    return caught


def losses_caught(run: Run, section: Section, loss: float, draws: int = DRAWS) -> tuple[int, int]:
    """Make the first metric that has thresholds worse by ``loss`` in ``draws`` entries, and count what is found.

    Returns:
        how many were found, and in how many the loss was planted (fewer than ``draws`` if the run has fewer entries).
    """
    metric = next(iter(section.thresholds))
    able = [i for i, record in enumerate(run.records) if metric in record.measures and record.leak == "none"]
    able = [i for i in able if key_of(run.records[i]) in section.entries]
    chosen = np.random.default_rng(0).permutation(len(able))[:draws]
    records, planted = list(run.records), set()
    for i in (able[c] for c in chosen):
        record = records[i]
        measure = record.measures[metric]
        worse = -loss if measure.higher_is_better else loss
        measure = replace(measure, values=[value + worse for value in measure.values])
        records[i] = replace(record, measures={**record.measures, metric: measure})
        planted.add(key_of(record))
    found = compare(replace(run, records=records), section).of("regression")
    return len(planted & {finding.key for finding in found if finding.metric == metric}), len(planted)


def quality_floor(
    before: Mapping, now: Mapping, where: str, tolerances: Tolerances
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """How far the means of quality metrics differ between two runs of the same code, whose entries are given by key.

    Returns:
        {metric: {where: largest difference}} over all quiet entries, and {entry: {metric: {where: difference}}} of the
        others. An entry is quiet if it differs by at most half of the general tolerance and half of its own.
    """
    largest: dict[str, dict[str, float]] = {}
    listed: dict[str, dict[str, dict[str, float]]] = {}
    for key in before.keys() & now.keys():
        for name, a in before[key].measures.items():
            b = now[key].measures.get(name)
            if a.kind != "quality" or b is None or len(a.values) != len(b.values):
                continue
            difference = float(f"{abs(np.mean(b.values) - np.mean(a.values)):.3g}")
            general = tolerances.named("", name, where)
            if difference > min(t for t in (tolerances.of(key, name, a, where), general) if t is not None) / 2:
                listed.setdefault(key, {}).setdefault(name, {})[where] = difference
            else:
                worst = largest.setdefault(name, {where: 0.0})
                worst[where] = max(worst[where], difference)
    return largest, dict(sorted(listed.items()))


def times(runs: Sequence[Run]) -> dict[str, list[Measure]]:
    """{entry: its time in each run}, for all times that are ratios to the yardstick workload; reruns are left out."""
    found: dict[str, list[Measure]] = {}
    for run in runs:
        for key, entry in entries_of(run).items():
            for measure in entry.measures.values():
                if measure.kind == "timing":
                    found.setdefault(key, []).append(replace(measure, reruns=()))
    return found
