"""What the intervals of the paces leave open: who costs no more than a treatment, and who is its best rival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dipddpm.report.comparisons import Comparisons, Tested
from dipddpm.report.contrast import Sample, of_role


@dataclass(frozen=True)
class OpenRivals:
    """The rivals of a tested treatment of one role, with every pace anywhere in its interval.

    Attributes:
        judge, role: of the contrast; treatment: what costs are held against.
        close: those that cost no more at some paces, and more at others.
        best: every arm that could be the best rival at some paces, best by validation first; the last one is None where
            it is possible that no arm costs as little as the treatment.
    """

    judge: str
    role: str
    treatment: Sample
    close: Sequence[Sample]
    best: Sequence[Sample | None]


def open_rivals(comparisons: Comparisons, tested: Tested, role: str) -> OpenRivals:
    """What the paces leave open of one contrast; nothing is close where no paces were measured in turns.

    Each of the close ones is assumed to cost more or less than the treatment independently of the others. So more sets
    of rivals may be listed than the paces really allow.
    """
    judge, treatment = tested.judge, tested.treatment
    others = of_role(treatment, comparisons.competing_with(treatment), judge, role)
    more = {other: comparisons.paces.difference(other.work, treatment.work) for other in others}
    close = [other for other, (low, high) in more.items() if low <= 0 < high]
    best: list[Sample | None] = []
    for other in sorted(others, key=lambda sample: sample.validated(judge), reverse=True):
        low, high = more[other]
        if low <= 0 and math.isfinite(other.validated(judge)):
            best.append(other)
            if high <= 0:
                break
    else:
        best.append(None)
    return OpenRivals(judge, role, treatment, close, best)
