"""Contrasts: what a treatment brings over its rivals at equal total cost. Named before the run, paired by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dipddpm.measure.record import Record
from dipddpm.measure.statistics import Estimate, paired_difference, wilcoxon_p


@dataclass(frozen=True)
class Contrast:
    """The paired difference of a treatment and one rival on the primary metric.

    Attributes:
        rival: its arm and budget.
        difference: treatment minus rival, in units of the metric; positive is better if higher is better.
        p: Wilcoxon signed-rank, two-sided, not adjusted.
    """

    rival: Record
    difference: Estimate
    p: float


def against_best_control(record: Record, records: Sequence[Record], primary: str) -> Contrast | None:
    """Against the control that did best *on the validation images* among those that cost no more.

    The choice never sees the test images, so that the rival is not flattered by the noise it is judged on. None if no
    control is as cheap.
    """
    affordable = [
        rival
        for rival in records
        if rival.role == "control" and rival.validation is not None and _comparable(record, rival)
    ]
    if not affordable:
        return None
    sign = 1 if record.measures[primary].higher_is_better else -1
    return _contrast(record, max(affordable, key=lambda rival: sign * (rival.validation or 0.0)), primary)


def against_part(record: Record, records: Sequence[Record], primary: str) -> Contrast | None:
    """Against the first stage alone, spending on it all that the treatment spends: the dearest part of the same family
    that costs no more. None if there is none."""
    parts = [
        rival
        for rival in records
        if rival.role == "part" and rival.family == record.family and _comparable(record, rival)
    ]
    return _contrast(record, max(parts, key=lambda rival: rival.cost), primary) if parts else None


def _comparable(record: Record, rival: Record) -> bool:
    return rival.group == record.group and rival.leak == record.leak == "none" and rival.cost <= record.cost


def _contrast(record: Record, rival: Record, primary: str) -> Contrast:
    if list(record.items) != list(rival.items):
        raise ValueError(f"{record.arm} and {rival.arm} were measured on different images: they cannot be paired")
    a, b = record.measures[primary].values, rival.measures[primary].values
    return Contrast(rival, paired_difference(a, b), wilcoxon_p(a, b))
