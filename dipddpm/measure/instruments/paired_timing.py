"""Time as a ratio to a reference workload that runs beside the measured one: what can be compared across machines.

A B A B: the work and the reference take turns, so that whatever slows the machine down slows both, and each ratio is of
neighbours. Judging two sets of ratios is here too, so that a live session and two files get the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import Measure

UNIT = "x reference"
PAIRS = 11  # with 9, two pairs that were disturbed already widen the interval by as much as they were
LEAST_PAIRS = 7
STEADY = 0.10  # largest spread of the reference with which a ratio means something
STEADY_RATIOS = 0.20  # and of the ratios: beyond it, what disturbed some pairs hides what is looked for
ATTEMPTS = 3
BATCH_SECONDS = 0.12  # of the work and of the reference in each pair
RESAMPLES = 2_000

Judgement = Literal["holds", "improved", "slower", "suspicious", "unsteady"]


@cache
def reference_work(device: str) -> Callable[[], object]:
    """A 3x3 convolution and a matrix product of a fixed size, about as intense as a small U-Net: 1.5 GFLOP."""
    x = torch.randn(16, 64, 32, 32, device=device).to(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    a = torch.randn(512, 512, device=device)

    def work() -> None:
        with torch.inference_mode():
            F.conv2d(x, w, padding=1)
            a @ a

    return work


def paired(
    work: Callable[[], object],
    reference: Callable[[], object],
    *,
    pairs: int = PAIRS,
    seconds: float = BATCH_SECONDS,
    clock: Callable[[], float] = synchronised,
) -> tuple[list[float], list[float]]:
    """Time ``work`` against ``reference``, in turns, after a warm-up of both.

    Each is repeated to last about ``seconds``, so that the two last alike; the numbers are of one execution.

    Returns:
        ratios (work over reference), and seconds of the reference, one a pair.
    """

    def timed(what: Callable[[], object], loops: int) -> float:
        started = clock()
        for _ in range(loops):
            what()
        return (clock() - started) / loops

    def loops_for(what: Callable[[], object], target: float) -> int:
        timed(what, 1)  # start-up: memory, kernels, caches
        return max(1, math.ceil(target / max(timed(what, 1), 1e-9)))

    of_work = loops_for(work, seconds)
    of_reference = loops_for(reference, max(seconds, timed(work, of_work) * of_work))
    ratios, references = [], []
    for _ in range(pairs):
        a, b = timed(work, of_work), timed(reference, of_reference)
        ratios.append(a / b)
        references.append(b)
    return ratios, references


def measured(
    work: Callable[[], object], device: torch.device | str, *, clock: Callable[[], float] = synchronised
) -> Measure:
    """The time of ``work`` in units of the reference; measured again, up to three times, until the reference is steady.

    If it never is, the steadiest attempt is returned, and :func:`steady` says that it is none.
    """
    attempts: list[Measure] = []
    while len(attempts) < ATTEMPTS and not (attempts and steady(attempts[-1])):
        ratios, seconds = paired(work, reference_work(str(device)), clock=clock)
        attempts.append(Measure(UNIT, False, "timing", ratios, reference=seconds))
    return min(attempts, key=unrest)


def spread(values: Sequence[float]) -> float:
    """Interquartile range over the median; infinite where there are no finite values."""
    if not len(values) or not np.isfinite(values).all():
        return math.inf
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def unrest(measure: Measure) -> float:
    """How unsteady the machine was, in units of what is allowed: the reference, or the ratios to it."""
    return max(spread(measure.reference) / STEADY, spread(measure.values) / STEADY_RATIOS)


def steady(measure: Measure) -> bool:
    """Enough pairs, on a machine that kept its pace."""
    return len(measure.values) >= LEAST_PAIRS and unrest(measure) <= 1


def restlessness(measure: Measure) -> str:
    """What varied by how much, in words."""
    return (
        f"the reference workload varied by {spread(measure.reference):.0%} (at most {STEADY:.0%}) and the ratios to it "
        f"by {spread(measure.values):.0%} (at most {STEADY_RATIOS:.0%}): busy machine"
    )


def median_ratio(now: Sequence[float], before: Sequence[float]) -> tuple[float, float, float]:
    """median(now) / median(before) and its bootstrap bounds (both resampled), one-sided at 95 %; always the same."""
    rng = np.random.default_rng(0)

    def medians(values: Sequence[float]) -> np.ndarray:
        data = np.asarray(values, dtype=float)
        return np.median(data[rng.integers(len(data), size=(RESAMPLES, len(data)))], axis=1)

    low, high = np.quantile(medians(now) / medians(before), [0.05, 0.95])
    return float(np.median(np.asarray(now)) / np.median(np.asarray(before))), float(low), float(high)


def judge(before: Measure, now: Measure, gain: float) -> tuple[Judgement, str]:
    """Is ``now`` slower than ``before`` by more than the factor 1 + gain?

    The measurement and its reruns are looked at in turn, unsteady ones left out. One that is not slower settles it:
    ``holds`` or ``improved``. Two that are make it ``slower``. One alone is ``suspicious`` (a rerun has to confirm it),
    and where none was steady, it is ``unsteady``.

    Returns:
        the judgement, and the numbers it rests on, in words.
    """
    attempts: Sequence[Measure] = [now, *now.reruns]
    slower, told = 0, ""
    for attempt in attempts:
        if not steady(attempt):
            continue
        ratio, low, high = median_ratio(attempt.values, before.values)
        told = f"{ratio:.2f} x the baseline's time [{low:.2f}, {high:.2f}], allowed {1 + gain:.2f}"
        if low <= 1 + gain:
            return ("improved" if high < 1 / (1 + gain) else "holds"), told
        slower += 1
        if slower == 2:
            return "slower", f"{told}, confirmed by a rerun"
    if slower:
        return "suspicious", f"{told}, not confirmed by a rerun"
    return "unsteady", restlessness(min(attempts, key=unrest))
