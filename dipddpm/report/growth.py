"""How cost grows: seconds against size, and the exponent p of seconds ~ size^p, fitted as a line in log-log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from dipddpm.measure.record import Measure, Record

SUITE = "growth"
EXPONENT = "exponent"


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent, its standard error, and its 95 % interval (Student's t with n - 2 degrees for n sizes)."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class Growth:
    """The seconds of one stage against the size of its work.

    Attributes:
        against: what there is more of (images, iterations, ...).
        seconds: medians over repeats, one per size.
    """

    stage: str
    against: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: Exponent


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> Exponent:
    """The exponent of ``seconds`` over ``sizes`` by least squares in log-log; it takes at least three sizes."""
    from scipy import stats

    x, y = (np.log(np.asarray(v, dtype=float)) for v in (sizes, seconds))
    x, y = x - x.mean(), y - y.mean()
    value = float(x @ y / (x @ x))
    error = float(np.sqrt(((y - value * x) ** 2).sum() / (len(x) - 2) / (x @ x)))
    half = float(stats.t.ppf(0.975, len(x) - 2)) * error
    return Exponent(value, error, value - half, value + half)


def record(stage: str, against: str, sizes: Sequence[int], times: Sequence[Sequence[float]]) -> Record:
    """The record of a stage: the exponent, and the repeated ``times`` at each size.

    The measures are named after multiples of the first size. Stages of different sizes then share columns in a table.
    """
    found = exponent(sizes, [median(t) for t in times])
    measures = {
        EXPONENT: Measure("", False, "timing", [found.value], interval=(found.low, found.high)),
        "standard error": Measure("", False, "timing", [found.error]),
    }
    measures |= {f"{n / sizes[0]:g}x": Measure("s", False, "timing", t) for n, t in zip(sizes, times, strict=True)}
    return Record(
        suite=SUITE, group=f"against {against}", arm=stage, role="stage", budget=0,
        axes={"against": against, "1x is": sizes[0]}, measures=measures, seconds={},
    )  # fmt: skip


def growths(records: Sequence[Record]) -> list[Growth]:
    """Read what :func:`record` wrote from the records of a run."""
    found = []
    for r in records:
        if r.suite != SUITE or EXPONENT not in r.measures:
            continue
        first = int(str(r.axes["1x is"]))
        at = {round(float(name[:-1]) * first): median(m.values) for name, m in r.measures.items() if m.unit == "s"}
        value, (low, high) = r.measures[EXPONENT].values[0], r.measures[EXPONENT].interval
        fitted = Exponent(value, r.measures["standard error"].values[0], low, high)
        found.append(Growth(r.arm, str(r.axes["against"]), tuple(at), tuple(at.values()), fitted))
    return found
