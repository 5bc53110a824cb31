"""Contrasts: the paired difference of a treatment and one rival by one judge, image by image.

Which rivals a treatment has is fixed here, before anything runs: the best control and the best first stage alone, each
at no more than the treatment's total cost, and the comparator at the same budget. No choice looks at the test images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dipddpm.measure.record import UNPAIRED, Record
from dipddpm.measure.statistics import Estimate, cluster_means, detectable, estimates, paired_difference
from dipddpm.report.costs import Paces, Work


@dataclass(frozen=True, eq=False)
class Sample:
    """One arm at one budget in one setting, over all repeats.

    Attributes:
        record: that of the first repeat, for everything that repeats share.
        values: {metric: (repeats, images)}.
        work: what it is charged for, mean over repeats.
        repeats: which repeats these are, in the order of the values.
        populations: {metric of the images together: value and 95 % interval, each a mean over repeats}.
        diverged: images of all repeats that came out not finite; with any, the sample competes with nothing.
    """

    record: Record
    values: dict[str, np.ndarray]
    work: Work
    repeats: tuple[int, ...]
    populations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    diverged: int = 0
    _intervals: dict[str, Estimate] = field(default_factory=dict, repr=False)

    @property
    def seconds(self) -> Mapping[str, float]:
        """{stage: seconds per image}: counted work times its pace."""
        return self.work.seconds

    @property
    def cost(self) -> float:
        """Their sum."""
        return self.work.cost

    def clusters(self, metric: str) -> np.ndarray:
        """(C,) means over repeats and over the images of each photograph."""
        return cluster_means(self.values[metric], self.record.clusters)

    def mean(self, metric: str) -> float:
        """The mean over photographs."""
        return float(self.clusters(metric).mean())

    def interval(self, metric: str) -> Estimate:
        """The mean over photographs, with its interval. It is computed once per metric: see :func:`fill_intervals`."""
        fill_intervals([self], metric)
        return self._intervals[metric]

    def sign(self, metric: str) -> int:
        """1 where more of a metric is better, else -1."""
        return 1 if self.record.measures[metric].higher_is_better else -1

    def validated(self, judge: str) -> float:
        """Score on the validation images, more is better; -infinity where there is none, as after divergence."""
        score = self.record.validation.get(judge, math.nan)
        return self.sign(judge) * score if math.isfinite(score) else -math.inf

    @property
    def on_duration_curve(self) -> bool:
        """Its first stage is the published one of an architecture, ran for a fixed duration and gave its last iterate.

        Curves over durations are drawn through such samples alone: another way of fitting, early stopping and averaged
        iterates are other arms.
        """
        axes = self.record.axes
        published = self.record.family in (None, "", axes.get("architecture"))
        return published and axes.get("stopping", "fixed") == "fixed" and axes.get("output", "last") == "last"


@dataclass(frozen=True)
class Contrast:
    """The paired difference of a sample and one rival by one judge.

    Attributes:
        difference: sample minus rival, in units of the judge, with the p-value that belongs to its interval.
    """

    sample: Sample
    rival: Sample
    judge: str
    difference: Estimate

    @property
    def effect(self) -> float:
        """The difference, positive where the sample is better."""
        return self.sample.sign(self.judge) * self.difference.mean

    @property
    def detectable(self) -> float:
        """The effect that so many photographs show in 80 % of runs, by the spread of these differences."""
        return detectable(self.difference.spread, self.difference.n)

    @property
    def images_to_repay(self) -> float:
        """After how many images the training of a learned rival has paid for itself; infinity where it never does."""
        saved = self.sample.cost - self.rival.cost
        return self.rival.record.training_seconds / saved if saved > 0 else math.inf


def samples(records: Iterable[Record], paces: Paces | None = None) -> list[Sample]:
    """Put the records of competitors together over their repeats, in order of first appearance.

    Args:
        paces: that they are charged by; those of the records themselves where none are given.

    Raises:
        ValueError: repeats of one arm were measured on different images, or one repeat was recorded twice.
    """
    every = list(records)
    paces = paces or Paces(every)
    together: dict[tuple, list[Record]] = {}
    for record in every:
        if record.role not in UNPAIRED:
            key = (record.suite, record.group, record.arm, record.budget, *record.judges)
            together.setdefault(key, []).append(record)
    made = []
    for members in together.values():
        first = members[0]
        if len({member.repeat for member in members}) < len(members):
            raise ValueError(f"{first.suite}: {first.arm} at {first.budget} is recorded twice for one repeat")
        for other in members[1:]:
            _check_same_images(first, other)
        # Counts and metrics of a population are left out: they have a single value and not one per image.
        metrics = [name for name, m in first.measures.items() if m.kind != "structure" and not m.interval]
        values = {name: np.array([m.measures[name].values for m in members], dtype=float) for name in metrics}
        work = Work.mean([paces.work(member) for member in members])
        repeats = tuple(member.repeat for member in members)
        populations = {
            name: tuple(np.mean([[m.measures[name].values[0], *m.measures[name].interval] for m in members], axis=0))
            for name, measure in first.measures.items()
            if measure.interval and all(name in m.measures for m in members)  # a repeat that diverged has none
        }
        lost = sum(m.diverged for m in members)
        made.append(Sample(first, values, work, repeats, populations, lost))
    return made


def fill_intervals(samples: Iterable[Sample], metric: str) -> None:
    """Compute the intervals of many samples at once, so that each of them has its own at hand.

    A report shows more than a thousand, and a bootstrap of many is as fast as one of a few.
    """
    sizes: dict[int, list[tuple[Sample, np.ndarray]]] = {}
    for sample in samples:
        if metric in sample.values and metric not in sample._intervals:
            means = sample.clusters(metric)
            sizes.setdefault(len(means), []).append((sample, means))
    for members in sizes.values():
        for (sample, _), found in zip(members, estimates([means for _, means in members]), strict=True):
            sample._intervals[metric] = found


def contrast(sample: Sample, rival: Sample | None, judge: str) -> Contrast | None:
    """The contrast of a sample with a rival, over the repeats that both have.

    None without a rival, where one of the two diverged, or where they share no repeat: a repeat that failed for one of
    them counts for neither. The rival is the one that was chosen on the validation images. If it diverges on the test
    images, no other arm takes its place.

    Raises:
        ValueError: the two were measured on different images.
    """
    if (pair := paired(sample, rival, judge)) is None or rival is None:
        return None
    return Contrast(sample, rival, judge, paired_difference(*pair, sample.record.clusters))


def paired(sample: Sample, rival: Sample | None, judge: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The (repeats, images) values of both over the repeats that both have; None where there are none, or one of the
    two diverged.

    Raises:
        ValueError: the two were measured on different images.
    """
    if rival is None:
        return None
    _check_same_images(sample.record, rival.record)
    if sample.diverged or rival.diverged:
        return None
    shared = [repeat for repeat in sample.repeats if repeat in rival.repeats]
    if not shared:
        return None
    a, b = (s.values[judge][[s.repeats.index(repeat) for repeat in shared]] for s in (sample, rival))
    return a, b


def best_control(sample: Sample, others: Sequence[Sample], judge: str) -> Sample | None:
    """Of the controls that cost no more than the sample, the one that is best by the judge's validation scores.

    Noise is one of them, at any budget and with any number of averaged samples, and so is a prior that was trained.
    None without any.
    """
    return best_validated(_as_cheap(sample, others, judge, "control"), judge)


def best_part(sample: Sample, others: Sequence[Sample], judge: str) -> Sample | None:
    """Of the first stages alone that cost no more than the sample, the one that is best by the validation scores.

    It may be of any family, and spend all that the treatment spends, on any duration, stopping rule or output.
    None without any.
    """
    return best_validated(_as_cheap(sample, others, judge, "part"), judge)


def comparator_at_equal_budget(
    sample: Sample, others: Sequence[Sample], comparator: str, judge: str
) -> Sample | None:  # fmt: skip
    """The comparator at the sample's own budget, whatever the first stage cost; None where it was not run."""
    for other in others:
        a, b = sample.record, other.record
        same = b.arm == comparator and b.budget == a.budget and b.suite == a.suite and b.seen_by(judge)
        if same and b.leak == a.leak == "none":
            return other
    return None


def best_validated(candidates: Sequence[Sample], judge: str) -> Sample | None:
    """The best one by the judge's scores on the validation images; None where none has a finite score there."""
    best = max(candidates, key=lambda s: s.validated(judge), default=None)
    return best if best and math.isfinite(best.validated(judge)) else None


def of_role(sample: Sample, others: Sequence[Sample], judge: str, role: str) -> list[Sample]:
    """Those of a role that the judge sees, that answer the same question and have no leak, whatever they cost."""
    place = sample.record.suite, sample.record.group
    return [
        other for other in others
        if other.record.role == role and other.record.seen_by(judge)
        and other.record.leak == sample.record.leak == "none" and (other.record.suite, other.record.group) == place
    ]  # fmt: skip


def _as_cheap(sample: Sample, others: Sequence[Sample], judge: str, role: str) -> list[Sample]:
    return [other for other in of_role(sample, others, judge, role) if other.cost <= sample.cost]


def _check_same_images(a: Record, b: Record) -> None:
    if list(a.items) != list(b.items):
        raise ValueError(f"{a.arm} and {b.arm} were measured on different images: they cannot be paired")
