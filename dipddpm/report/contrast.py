"""Contrasts: the paired difference of a treatment and one rival, image by image.

Which rivals a treatment has is fixed here, before anything runs: the best control and the best first stage alone, each
at no more than the treatment's total cost, and the comparator at the same budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dipddpm.measure.record import UNPAIRED, Record
from dipddpm.measure.statistics import Estimate, mean_interval, paired_difference, wilcoxon_p


@dataclass(frozen=True, eq=False)
class Sample:
    """One arm at one budget over all repeats.

    Attributes:
        record: that of the first repeat, for everything that repeats share.
        values: {metric: (repeats, images)}.
        cost: seconds per image, all stages, mean over repeats.
        repeats: which repeats these are, in the order of the values.
    """

    record: Record
    values: dict[str, np.ndarray]
    cost: float
    repeats: tuple[int, ...]
    _intervals: dict[str, Estimate] = field(default_factory=dict, repr=False)

    def interval(self, metric: str) -> Estimate:
        """Mean of a metric over images and repeats, with its interval. The bootstrap runs once per metric."""
        if metric not in self._intervals:
            self._intervals[metric] = mean_interval(self.values[metric])
        return self._intervals[metric]

    @property
    def on_duration_curve(self) -> bool:
        """Its first stage ran for a fixed duration and gave its last iterate.

        Curves over durations are drawn through such samples alone: early stopping and averaged iterates are other arms.
        """
        axes = self.record.axes
        return axes.get("stopping", "fixed") == "fixed" and axes.get("output", "last") == "last"


@dataclass(frozen=True)
class Contrast:
    """The paired difference of a treatment and one rival on the primary metric.

    Attributes:
        difference: treatment minus rival, in units of the metric.
        p: two-sided p-value of the Wilcoxon signed-rank test, not adjusted.
    """

    rival: Sample
    difference: Estimate
    p: float


def samples(records: Iterable[Record]) -> list[Sample]:
    """Put the records of competitors together over their repeats, in order of first appearance.

    Raises:
        ValueError: repeats of one arm were measured on different images, or one repeat was recorded twice.
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
            _check_same_images(first, other)
        # Counts are left out: they have a single value and not one per image.
        metrics = [name for name, measure in first.measures.items() if measure.kind != "structure"]
        values = {name: np.array([m.measures[name].values for m in members], dtype=float) for name in metrics}
        repeats = tuple(member.repeat for member in members)
        made.append(Sample(first, values, float(np.mean([m.cost for m in members])), repeats))
    return made


def contrast(sample: Sample, rival: Sample | None, primary: str) -> Contrast | None:
    """The contrast of a sample with a rival, over the repeats that both have.

    None without a rival, or where the two share no repeat: a repeat that failed for one of them counts for neither.

    Raises:
        ValueError: the two were measured on different images.
    """
    if rival is None:
        return None
    _check_same_images(sample.record, rival.record)
    shared = [repeat for repeat in sample.repeats if repeat in rival.repeats]
    if not shared:
        return None
    a, b = (s.values[primary][[s.repeats.index(repeat) for repeat in shared]] for s in (sample, rival))
    return Contrast(rival, paired_difference(a, b), wilcoxon_p(a, b))


def best_control(sample: Sample, others: Sequence[Sample], primary: str) -> Sample | None:
    """Of the controls that cost no more than the sample, the best one on the validation images; None without any.

    The choice does not look at the test images. A rival chosen on them would be favoured by their noise.
    """
    return best_validated([s for s in others if s.record.role == "control" and _affordable(sample, s)], primary)


def best_part(sample: Sample, others: Sequence[Sample], primary: str) -> Sample | None:
    """Of the first stages alone that cost no more than the sample, the best one on the validation images.

    The first stage alone may spend all that the treatment spends, on any duration, stopping rule or output of the same
    family. Where none has a validation score, as in older runs, it is the most expensive one. None without any.
    """
    family = sample.record.family
    parts = [s for s in others if s.record.role == "part" and s.record.family == family and _affordable(sample, s)]
    return best_validated(parts, primary) or max(parts, key=lambda part: part.cost, default=None)


def comparator_at_equal_budget(sample: Sample, others: Sequence[Sample], comparator: str) -> Sample | None:
    """The comparator at the sample's own budget, whatever the first stage cost; None where it was not run."""
    for other in others:
        same = other.record.arm == comparator and other.record.budget == sample.record.budget
        if same and other.record.suite == sample.record.suite and other.record.leak == sample.record.leak == "none":
            return other
    return None


def best_validated(candidates: Sequence[Sample], primary: str) -> Sample | None:
    """The best one on the validation images; None where none has a finite score there, as after divergence."""
    scored = [(v, s) for s in candidates if (v := s.record.validation) is not None and math.isfinite(v)]
    if not scored:
        return None
    sign = 1 if candidates[0].record.measures[primary].higher_is_better else -1
    return max(scored, key=lambda pair: sign * pair[0])[1]


def _affordable(sample: Sample, other: Sample) -> bool:
    """Both answer the same question, neither has a leak, and the other one costs no more than the sample."""
    a, b = sample.record, other.record
    return (a.suite, a.group) == (b.suite, b.group) and a.leak == b.leak == "none" and other.cost <= sample.cost


def _check_same_images(a: Record, b: Record) -> None:
    if list(a.items) != list(b.items):
        raise ValueError(f"{a.arm} and {b.arm} were measured on different images: they cannot be paired")
