"""Contrasts: what a treatment brings over its rivals. Named before the run, paired by item, at equal total cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dipddpm.measure.record import UNPAIRED, Record
from dipddpm.measure.statistics import Estimate, paired_difference, wilcoxon_p


@dataclass(frozen=True)
class Sample:
    """One arm at one budget over all repeats.

    Attributes:
        record: of the first repeat, for everything that repeats share.
        values: {metric: (repeats, items)}; repeats: which, in that order.
        cost: seconds an item, all stages, mean over repeats.
    """

    record: Record
    values: dict[str, np.ndarray]
    cost: float
    repeats: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Its first stage ran for a fixed duration and gave its last iterate, as a curve over durations has it."""
        axes = self.record.axes
        return axes.get("stopping", "fixed") == "fixed" and axes.get("output", "last") == "last"


def samples(records: Iterable[Record]) -> list[Sample]:
    """Records of competitors put together over their repeats, in order of first appearance.

    Raises:
        ValueError: repeats of one arm were measured on different items, or one repeat is there twice.
    """
    together: dict[tuple, list[Record]] = {}
    for record in records:
        if record.role not in UNPAIRED:
            together.setdefault((record.suite, record.group, record.arm, record.budget), []).append(record)
    made = []
    for members in together.values():
        first = members[0]
        if len({member.repeat for member in members}) < len(members):
            raise ValueError(f"{first.suite}: {first.arm} at {first.budget} is recorded twice for one repeat")
        for other in members[1:]:
            _same_items(first, other)
        metrics = [name for name, measure in first.measures.items() if measure.kind != "structure"]  # one value an item
        values = {name: np.array([m.measures[name].values for m in members], dtype=float) for name in metrics}
        repeats = tuple(member.repeat for member in members)
        made.append(Sample(first, values, float(np.mean([m.cost for m in members])), repeats))
    return made


def _same_items(a: Record, b: Record) -> None:
    if list(a.items) != list(b.items):
        raise ValueError(f"{a.arm} and {b.arm} were measured on different images: they cannot be paired")


@dataclass(frozen=True)
class Contrast:
    """The paired difference of a treatment and one rival on the primary metric.

    Attributes:
        difference: treatment minus rival, in units of the metric.
        p: Wilcoxon signed-rank, two-sided, not adjusted.
    """

    rival: Sample
    difference: Estimate
    p: float


def against_best_control(sample: Sample, rivals: Sequence[Sample], primary: str) -> Contrast | None:
    """Against the control that did best *on the validation images* among those that cost no more.

    The choice never sees the test images, so that the rival is not flattered by the noise it is judged on. None if no
    control is as cheap.
    """
    rival = best_validated([r for r in rivals if r.record.role == "control" and _comparable(sample, r)], primary)
    return _contrast(sample, rival, primary) if rival else None


def against_part(sample: Sample, rivals: Sequence[Sample], primary: str) -> Contrast | None:
    """Against the first stage alone, which may spend all that the treatment spends, on any duration, stopping rule or
    output: of the parts of the same family that cost no more, the one that did best on the validation images.

    In a run whose parts have no score on those (an older one), the dearest. None if there is no part.
    """
    parts = [
        rival
        for rival in rivals
        if rival.record.role == "part" and rival.record.family == sample.record.family and _comparable(sample, rival)
    ]
    if not parts:
        return None
    return _contrast(sample, best_validated(parts, primary) or max(parts, key=lambda rival: rival.cost), primary)


def at_equal_budget(sample: Sample, rivals: Sequence[Sample], primary: str, reference: str) -> Contrast | None:
    """Against the reference arm at the same budget of the second stage, whatever the first stage cost."""
    for rival in rivals:
        same = rival.record.arm == reference and rival.record.budget == sample.record.budget
        if same and rival.record.suite == sample.record.suite and rival.record.leak == sample.record.leak == "none":
            return _contrast(sample, rival, primary)
    return None


def best_validated(rivals: Sequence[Sample], primary: str) -> Sample | None:
    """The best on the validation images; None where none has a score there, which one that diverged has not."""
    scored = [(s, r) for r in rivals if (s := r.record.validation) is not None and math.isfinite(s)]
    if not scored:
        return None
    sign = 1 if rivals[0].record.measures[primary].higher_is_better else -1
    return max(scored, key=lambda pair: sign * pair[0])[1]


def _comparable(sample: Sample, rival: Sample) -> bool:
    """Same question, nothing leaked on either side, and no dearer."""
    a, b = sample.record, rival.record
    return (a.suite, a.group) == (b.suite, b.group) and a.leak == b.leak == "none" and rival.cost <= sample.cost


def _contrast(sample: Sample, rival: Sample, primary: str) -> Contrast | None:
    """Over the repeats that both have: one that failed on either side is missing on both. None if there is none."""
    _same_items(sample.record, rival.record)
    shared = [repeat for repeat in sample.repeats if repeat in rival.repeats]
    if not shared:
        return None
    a, b = (s.values[primary][[s.repeats.index(repeat) for repeat in shared]] for s in (sample, rival))
    return Contrast(rival, paired_difference(a, b), wilcoxon_p(a, b))
