"""Paces: what a unit of a stage's work takes on a quiet machine, as raw samples that were measured in turns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

ROUNDS = 9  # the second smallest and second largest then bound the median at 96 %, so that one disturbed round does not
LEAST_ROUNDS = 7
STEADY = 0.25
"""Largest width of an interval, as a share of the median, at which seconds are fit to be cited."""
LEVEL = 0.95


@dataclass(frozen=True)
class Pace:
    """What a unit of some work takes per image, measured in turns with all other paces of a run.

    Attributes:
        stage: of a record; key: what the record says that its seconds per unit are the pace of.
        unit: what is counted ("pass", "evaluation", "call"); batch: images that it was measured on at once.
        samples: seconds per unit and image, one per round.
    """

    stage: str
    key: str
    unit: str
    batch: int
    samples: Sequence[float]

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return median(self.samples)

    @property
    def interval(self) -> tuple[float, float]:
        """At least 95 % for the median, whatever the distribution of the samples (:func:`median_interval`)."""
        return median_interval(self.samples)

    @property
    def width(self) -> float:
        """Of the interval, as a share of the median."""
        low, high = self.interval
        return (high - low) / self.seconds if self.seconds > 0 else math.inf

    @property
    def is_steady(self) -> bool:
        """Whether there are enough rounds, and their interval is narrow enough to charge records by this pace."""
        return len(self.samples) >= LEAST_ROUNDS and self.width <= STEADY


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """The narrowest interval between two samples, as far from either end, that holds the median with 95 %.

    The number of samples below the median is binomial with 1/2, whatever their distribution (Conover 1999, section
    3.2). Fewer than 6 samples cannot give 95 %; all of them then bound it.
    """
    ordered, n = sorted(samples), len(samples)
    cut, outside = 0, 2 * 0.5**n
    while cut < (n - 1) // 2:
        outside += 2 * math.comb(n, cut + 1) * 0.5**n
        if outside > 1 - LEVEL:
            break
        cut += 1
    return ordered[cut], ordered[n - 1 - cut]


def read_pace(text: Mapping[str, Any]) -> Pace:
    """A pace as a run file holds it.

    Raises:
        ValueError: samples that are no seconds.
    """
    made = Pace(**text)
    if not made.samples or not all(isinstance(s, int | float) and 0 <= s < math.inf for s in made.samples):
        raise ValueError(f"pace of {made.key!r}: its samples are seconds, at least one of them")
    return made
