"""Time as a ratio to a yardstick workload, so that times can be compared across days and machines.

The measured work and the yardstick take turns (A B A B). Whatever slows the machine down then slows both, and each
ratio is made of two executions that follow each other. The judgement on two sets of ratios is here too, so that a live
session and two files get the same answer.
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

UNIT = "x yardstick"
PAIRS = 11  # with 9, two disturbed pairs already widen the interval by as much as they were disturbed
LEAST_PAIRS = 7
STEADY = 0.10  # largest spread of the yardstick's seconds: on a machine less steady than that a ratio says nothing
STEADY_RATIOS = 0.20  # largest spread of the ratios: beyond it the disturbed pairs hide a slowdown
ATTEMPTS = 3
BATCH_SECONDS = 0.12  # how long the work, and the yardstick, last in each pair
RESAMPLES = 2_000

Judgement = Literal["holds", "improved", "slower", "suspicious", "unsteady"]


@cache
def yardstick_work(device: str) -> Callable[[], object]:
    """The yardstick workload: a 3x3 convolution and a matrix product of a fixed size, 1.5 GFLOP.

    It needs about as many operations per byte as a small convolutional network does.
    """
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
    yardstick: Callable[[], object],
    *,
    pairs: int = PAIRS,
    seconds: float = BATCH_SECONDS,
    clock: Callable[[], float] = synchronised,
) -> tuple[list[float], list[float]]:
    """Time ``work`` against ``yardstick``, in turns, after a warm-up of both.

    Each is repeated until it lasts about ``seconds``, so that both last equally long.

    Returns:
        one ratio per pair (seconds of one execution of the work over those of one of the yardstick), and the seconds of
        the yardstick, also one per pair.
    """

    def timed(what: Callable[[], object], loops: int) -> float:
        started = clock()
        for _ in range(loops):
            what()
        return (clock() - started) / loops

    def loops_for(what: Callable[[], object], target: float) -> int:
        timed(what, 1)  # the first call also allocates memory, loads kernels and fills caches
        return max(1, math.ceil(target / max(timed(what, 1), 1e-9)))

    of_work = loops_for(work, seconds)
    of_yardstick = loops_for(yardstick, max(seconds, timed(work, of_work) * of_work))
    ratios, yardsticks = [], []
    for _ in range(pairs):
        a, b = timed(work, of_work), timed(yardstick, of_yardstick)
        ratios.append(a / b)
        yardsticks.append(b)
    return ratios, yardsticks


def measured(
    work: Callable[[], object], device: torch.device | str, *, clock: Callable[[], float] = synchronised
) -> Measure:
    """The time of ``work`` in units of the yardstick, measured up to three times until the machine is steady.

    If the machine never is, the steadiest attempt is returned; :func:`steady` is then false for it.
    """
    attempts: list[Measure] = []
    while len(attempts) < ATTEMPTS and not (attempts and steady(attempts[-1])):
        ratios, seconds = paired(work, yardstick_work(str(device)), clock=clock)
        attempts.append(Measure(UNIT, False, "timing", ratios, yardstick=seconds))
    return min(attempts, key=unrest)


def spread(values: Sequence[float]) -> float:
    """Interquartile range over the median; infinite where there are no finite values."""
    if not len(values) or not np.isfinite(values).all():
        return math.inf
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def unrest(measure: Measure) -> float:
    """How unsteady the machine was: the larger of two spreads, each over what is allowed.

    The spreads are those of the yardstick and of the ratios. Up to 1 is steady enough.
    """
    return max(spread(measure.yardstick) / STEADY, spread(measure.values) / STEADY_RATIOS)


def steady(measure: Measure) -> bool:
    """There are enough pairs, and the machine kept its pace while they were measured."""
    return len(measure.values) >= LEAST_PAIRS and unrest(measure) <= 1


def restlessness(measure: Measure) -> str:
    """A message on what varied, and by how much."""
    return (
        f"the yardstick workload varied by {spread(measure.yardstick):.0%} (at most {STEADY:.0%}) and the ratios to it "
        f"by {spread(measure.values):.0%} (at most {STEADY_RATIOS:.0%}): busy machine"
    )


def median_ratio(now: Sequence[float], before: Sequence[float]) -> tuple[float, float, float]:
    """median(now) / median(before), and its lower and upper bootstrap bound, each one-sided at 95 %.

    Both sides are resampled. The draws are seeded: the same values give the same bounds.
    """
    rng = np.random.default_rng(0)

    def medians(values: Sequence[float]) -> np.ndarray:
        data = np.asarray(values, dtype=float)
        return np.median(data[rng.integers(len(data), size=(RESAMPLES, len(data)))], axis=1)

    low, high = np.quantile(medians(now) / medians(before), [0.05, 0.95])
    return float(np.median(np.asarray(now)) / np.median(np.asarray(before))), float(low), float(high)


def judge(before: Measure, now: Measure, gain: float) -> tuple[Judgement, str]:
    """Is ``now`` slower than ``before`` by more than the factor 1 + gain?

    The measurement and its reruns are judged in turn; unsteady ones are skipped. The first one that is not slower
    decides: ``holds`` or ``improved``. Two that are slower make it ``slower``. A single slower one is ``suspicious``,
    since a rerun has to confirm it. Where none was steady, the judgement is ``unsteady``.

    Returns:
        the judgement, and a message with the numbers it rests on.
    """
    attempts: Sequence[Measure] = [now, *now.reruns]
    slower, numbers = 0, ""
    for attempt in attempts:
        if not steady(attempt):
            continue
        ratio, low, high = median_ratio(attempt.values, before.values)
        numbers = f"{ratio:.2f} x the baseline's time [{low:.2f}, {high:.2f}], allowed {1 + gain:.2f}"
        if low <= 1 + gain:
            return ("improved" if high < 1 / (1 + gain) else "holds"), numbers
        slower += 1
        if slower == 2:
            return "slower", f"{numbers}, confirmed by a rerun"
    if slower:
        return "suspicious", f"{numbers}, not confirmed by a rerun"
    return "unsteady", restlessness(min(attempts, key=unrest))
