"""All comparisons within one run, computed once and shared by tables, verdicts and figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import holm
from dipddpm.report.contrast import (
    Contrast,
    Sample,
    best_control,
    best_part,
    comparator_at_equal_budget,
    contrast,
    samples,
)


class Comparisons:
    """Samples, contrasts and adjusted p-values of one run.

    Each is computed when it is first asked for and then kept, because a report quotes the same numbers in several
    places and a bootstrap takes milliseconds. The run must not change while this object is in use.

    Attributes:
        run: the run.
        samples: its competitors, each put together over its repeats.
    """

    def __init__(self, run: Run):
        self.run = run
        self.samples = samples(run.records)
        self.contrasts = cache(self._contrasts)
        self.adjusted = cache(self._adjusted)
        self._contrast = cache(lambda sample, rival: contrast(sample, rival, run.primary))

    def in_group(self, group: str) -> list[Sample]:
        """The samples of a group."""
        return [sample for sample in self.samples if sample.record.group == group]

    def competing_with(self, sample: Sample) -> list[Sample]:
        """The samples of the same suite and group, the sample itself included."""
        place = sample.record.suite, sample.record.group
        return [other for other in self.samples if (other.record.suite, other.record.group) == place]

    def candidates(self, group: str) -> list[Sample]:
        """The treatments that a verdict on a group may be about: at their chosen budget, without a leak, with a rival.

        A treatment has a rival if a control costs no more than it does.
        """
        return [
            s for s in self.in_group(group)
            if s.record.role == "treatment" and s.record.chosen and s.record.leak == "none"
            and self.contrasts(s)["control"] is not None
        ]  # fmt: skip

    def _contrasts(self, sample: Sample) -> Mapping[str, Contrast | None]:
        """The contrasts of a treatment by the role of the rival: ``control``, ``part`` and ``comparator``."""
        others, primary = self.competing_with(sample), self.run.primary
        rivals = {
            "control": best_control(sample, others, primary),
            "part": best_part(sample, others, primary),
            "comparator": comparator_at_equal_budget(sample, others, self.run.comparator),
        }
        return {name: self._contrast(sample, rival) for name, rival in rivals.items()}

    def _adjusted(self, group: str) -> Mapping[tuple[Sample, str], float]:
        """Adjusted p-values (Holm) of the contrasts of all candidates of a group, by candidate and role of the rival.

        The best of many candidates is judged by the standard of many: every contrast with a control or a part that a
        verdict could have quoted belongs to the family.
        """
        family = {
            (sample, name): found.p
            for name in ("control", "part")
            for sample in self.candidates(group)
            if (found := self.contrasts(sample)[name]) is not None
        }
        return dict(zip(family, holm(list(family.values())), strict=True))
