"""All comparisons within one run, computed once and shared by tables, verdicts and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import nan

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import Estimate, cluster_means, estimates, ranks
from dipddpm.report.contrast import (
    Contrast,
    Sample,
    best_control,
    best_part,
    best_validated,
    comparator_at_equal_budget,
    contrast,
    paired,
    samples,
)
from dipddpm.report.costs import Paces

RIVALS = ("control", "part")  # of the two contrasts that a verdict rests on


@dataclass(frozen=True)
class Tested:
    """The one treatment of a group that a judge tests, and its contrasts with its rivals.

    Attributes:
        judge: the metric.
        treatment: the one that is best by the judge's scores on the validation images.
        candidates: number of treatments that it was chosen from.
        contrasts: with its rivals, by their roles ``control`` and ``part``; None where no rival costs as little as the
            treatment, or where the treatment or the rival diverged on the test images.
        diverged: the rivals that diverged, by their roles.
    """

    judge: str
    treatment: Sample
    candidates: int
    contrasts: Mapping[str, Contrast | None]
    diverged: Mapping[str, Sample] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """The arms of a group at the budgets that one judge chose, best mean first, those with a leak apart. What diverged
    stands last.

    Attributes:
        rows: the samples.
        values: their means, with intervals that hold for all rows of the table together.
        ranks: one more than how many rows are better beyond noise; None of a row that diverged.
        contrasts: of the treatments, by the role of the rival (``control``, ``part``, ``comparator``), with intervals
            and p-values that hold for all of them together. The two that the verdict tests are not adjusted for others.
    """

    judge: str
    rows: Sequence[Sample]
    values: Sequence[Estimate]
    ranks: Sequence[int | None]
    contrasts: Mapping[Sample, Mapping[str, Contrast | None]]


class Comparisons:
    """Samples, contrasts and intervals of one run.

    Each is computed when it is first asked for and then kept, because a report quotes the same numbers in several
    places and a bootstrap takes milliseconds. The run must not change while this object is in use.

    Attributes:
        run: the run.
        paces: the prices per unit of work that samples are charged by.
        samples: the competitors of the run, each put together over its repeats.
    """

    def __init__(self, run: Run):
        self.run = run
        self.paces = Paces(run.records, run.paces)
        self.samples = samples(run.records, self.paces)
        self._places: dict[tuple[str, str], list[Sample]] = {}
        for sample in self.samples:
            self._places.setdefault((sample.record.suite, sample.record.group), []).append(sample)
        self.rivals = cache(self._rivals)
        self.tested = cache(self._tested)
        self.board = cache(self._board)

    def in_group(self, group: str) -> list[Sample]:
        """The samples of a group."""
        return [sample for sample in self.samples if sample.record.group == group]

    def competing_with(self, sample: Sample) -> list[Sample]:
        """The samples of the same suite and group, the sample itself included."""
        return self._places[sample.record.suite, sample.record.group]

    def chosen(self, group: str, judge: str) -> list[Sample]:
        """The samples of a group at the budget and in the setting that a judge chose for their arm."""
        return [s for s in self.in_group(group) if judge in s.record.chosen and judge in s.values]

    def candidates(self, group: str, judge: str) -> list[Sample]:
        """The treatments that a judge may test: at its chosen budget, without a leak."""
        return [s for s in self.chosen(group, judge) if s.record.role == "treatment" and s.record.leak == "none"]

    def _rivals(self, sample: Sample, judge: str) -> Mapping[str, Sample | None]:
        """The rivals of a treatment by role: ``control``, ``part`` and ``comparator``; None where there is none."""
        others = self.competing_with(sample)
        return {
            "control": best_control(sample, others, judge),
            "part": best_part(sample, others, judge),
            "comparator": comparator_at_equal_budget(sample, others, self.run.comparator, judge),
        }

    def _tested(self, group: str, judge: str) -> Tested | None:
        """The treatment that a judge tests, chosen on validation images, and its two contrasts; None without any."""
        candidates = self.candidates(group, judge)
        if (treatment := best_validated(candidates, judge)) is None:
            return None
        rivals = self.rivals(treatment, judge)
        contrasts = {name: contrast(treatment, rivals[name], judge) for name in RIVALS}
        lost = {name: rival for name in RIVALS if (rival := rivals[name]) is not None and rival.diverged}
        return Tested(judge, treatment, len(candidates), contrasts, lost)

    def _board(self, group: str, judge: str, leaking: bool = False) -> Board:
        """The table of a judge: of the arms without a leak, or of those with one, which have no contrasts."""
        rows = [s for s in self.chosen(group, judge) if (s.record.leak != "none") == leaking]
        sound, lost = [s for s in rows if not s.diverged], [s for s in rows if s.diverged]
        sound.sort(key=lambda s: -s.sign(judge) * s.mean(judge))
        vectors, places = [s.clusters(judge) for s in sound], [] if not sound else _ranks(sound, judge)
        values = [*_together(vectors, sound), *(Estimate(nan, nan, nan, len(s.clusters(judge))) for s in lost)]
        contrasts = {} if leaking or not rows else self._contrasts(group, judge)
        return Board(judge, [*sound, *lost], values, [*places, *[None] * len(lost)], contrasts)

    def _contrasts(self, group: str, judge: str) -> dict[Sample, Mapping[str, Contrast | None]]:
        tested = self.tested(group, judge)
        made: dict[Sample, dict[str, Contrast | None]] = {}
        others: list[tuple[Sample, str, Sample]] = []
        vectors = []
        for sample in self.candidates(group, judge):
            rivals = self.rivals(sample, judge)
            made[sample] = dict.fromkeys(rivals)
            if tested and tested.treatment is sample:
                made[sample] |= tested.contrasts
                rivals = {name: rival for name, rival in rivals.items() if name not in tested.contrasts}
            for name, rival in rivals.items():
                if rival is not None and (pair := paired(sample, rival, judge)) is not None:
                    others.append((sample, name, rival))
                    vectors.append(cluster_means(pair[0] - pair[1], sample.record.clusters))
        together = _together(vectors, [sample for sample, *_ in others])
        for (sample, name, rival), difference in zip(others, together, strict=True):
            made[sample][name] = Contrast(sample, rival, judge, difference)
        return dict(made)


def _ranks(rows: Sequence[Sample], judge: str) -> list[int]:
    """The ranks of rows, best first. Only arms that were measured on the same images can be told apart by pairs."""
    alike = [_images(s) == _images(rows[0]) for s in rows]
    pairs = [s.clusters(judge) for s, same in zip(rows, alike, strict=True) if same]
    ranked = iter(ranks(pairs, rows[0].sign(judge) > 0))
    return [next(ranked) if same else i + 1 for i, same in enumerate(alike)]


def _images(sample: Sample) -> tuple[str, ...]:
    return (*sample.record.items, *sample.record.clusters)


def _together(vectors: Sequence[np.ndarray], samples: Sequence[Sample]) -> list[Estimate]:
    """Simultaneous estimates of cluster means, one vector per sample.

    Vectors over the same images share a distribution. Where there are several sets of images, each gets its share of
    the 5 %.
    """
    bundles: dict[tuple, list[int]] = {}
    for i, sample in enumerate(samples):
        bundles.setdefault(_images(sample), []).append(i)
    made: dict[int, Estimate] = {}
    for members in bundles.values():
        found = estimates([vectors[i] for i in members], together=True, share=len(members) / len(vectors))
        made |= dict(zip(members, found, strict=True))
    return [made[i] for i in range(len(vectors))]
