"""The verdict on one group: does the treatment pay? The rule is :func:`decide`; docs/protocol.md says why it is so.

Each judge tests one treatment, the best by its own scores on the validation images, by two contrasts and no more: with
the best control and with the best first stage alone, each the best use of what the treatment costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import LEVEL, smallest_p
from dipddpm.report.comparisons import RIVALS, Comparisons, Tested
from dipddpm.report.contrast import Contrast, Sample, contrast
from dipddpm.report.metric_names import metric_name
from dipddpm.report.open_rivals import OpenRivals, open_rivals

PAYS, DOES_NOT_PAY, CANNOT_TELL = "pays", "does not pay", "cannot tell"
TOO_FEW, TOO_SMALL = "too few photographs", "cannot tell: n too small"
LEAST_CLUSTERS = 6  # below, there is the effect with its interval and no verdict


@dataclass(frozen=True)
class BreakEven:
    """How many first-stage steps a treatment could afford before the comparator reaches its quality at a lower cost.

    Attributes:
        iterations: ``(K_comparator - K_treatment) / rho``, where K is a budget.
        rho: cost of one first-stage step over that of one second-stage step.
        reached: the comparator reaches the treatment's mean within its largest budget. If it does not, ``iterations``
            is a lower bound.
    """

    iterations: float
    rho: float
    reached: bool


@dataclass(frozen=True)
class Verdict:
    """Does the treatment pay, in one group?

    Attributes:
        outcome: ``pays``, ``does not pay``, ``pays in ... alone``, ``cannot tell``, ``cannot tell: n too small``, or
            ``too few photographs``.
        tested: per judge, the treatment that it tested and the contrasts; a judge without scores on validation images
            is missing.
        n: number of photographs, the smallest of all contrasts.
        break_even: by the primary judge; None where the comparator or the cost of a stage is missing.
        open: the contrasts whose set of rivals changes when paces move within their intervals.
        could_be: every outcome that is possible with paces within their intervals, this one included.
    """

    outcome: str
    tested: tuple[Tested, ...]
    n: int
    break_even: BreakEven | None
    open: tuple[OpenRivals, ...] = ()
    could_be: tuple[str, ...] = ()


def won(effects: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Where a treatment beats its rival: the effect favours it at p < 0.05. A NaN decides nothing."""
    return (effects > 0) & (p < LEVEL)


def lost(effects: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Where the rival wins: at p < 0.025, because either of two rivals could, so that each has half the level."""
    return (effects < 0) & (p < LEVEL / len(RIVALS))


def decide(effects: np.ndarray, p: np.ndarray, judges: Sequence[str]) -> np.ndarray:
    """The outcomes of (...) experiments by their contrasts.

    ``pays``: every contrast of every judge is won. All of them have to be, so that none needs an adjustment for the
    others (an intersection-union test, Berger 1982). With a single judge it can only pay in that judge's eyes alone.
    ``does not pay``: under each judge at least one contrast is lost. ``pays in ... alone``: both contrasts of one judge
    are won, and none of the others is lost. Otherwise ``cannot tell``.

    Args:
        effects: (..., judges, rivals), positive where the treatment is better; NaN where there is no such rival.
        p: the same shape, two-sided.
        judges: what each judge is called.
    """
    wins, loses = np.all(won(effects, p), axis=-1), np.any(lost(effects, p), axis=-1)
    outcome = np.full(effects.shape[:-2], CANNOT_TELL, dtype=object)
    for j, name in enumerate(judges):
        outcome[np.asarray(wins)[..., j] & ~np.any(loses, axis=-1)] = f"pays in {name} alone"
    outcome[np.all(loses, axis=-1)] = DOES_NOT_PAY
    if len(judges) > 1:
        outcome[np.all(wins, axis=-1)] = PAYS
    return outcome


def verdict(comparisons: Comparisons, group: str) -> Verdict | None:
    """Judge a group; None where no judge has a treatment with a rival that costs no more."""
    run = comparisons.run
    found = {judge: comparisons.tested(group, judge) for judge in run.judges}
    tested = [t for t in found.values() if t and (any(t.contrasts.values()) or t.diverged or t.treatment.diverged)]
    if not tested:
        return None
    table = [[t.contrasts[name] if t else None for name in RIVALS] for t in found.values()]
    left_open = [open_rivals(comparisons, t, name) for t in tested if not t.treatment.diverged for name in RIVALS]
    n = min((c.difference.n for row in table for c in row if c), default=len(tested[0].treatment.clusters(run.primary)))
    outcome = _outcome(table, n, run)
    first = found[run.primary]
    even = break_even(first.treatment, comparisons.in_group(group), run) if first else None
    close = tuple(rivals for rivals in left_open if rivals.close)
    could_be = dict.fromkeys([outcome, *_outcomes(table, n, close, run)])
    return Verdict(outcome, tuple(tested), n, even, close, tuple(could_be))


Table = Sequence[Sequence[Contrast | None]]
"""The contrasts of each judge, in the order of ``RIVALS``."""


def _outcome(table: Table, n: int, run: Run) -> str:
    """The outcome of one table of contrasts over ``n`` photographs."""
    if n < LEAST_CLUSTERS:
        return TOO_FEW
    if smallest_p(n) >= LEVEL / len(RIVALS):
        return TOO_SMALL
    effects = np.array([[c.effect if c else np.nan for c in row] for row in table])
    p = np.array([[c.difference.p if c else np.nan for c in row] for row in table])
    return decide(effects, p, [judge_word(run, judge) for judge in run.judges]).item()


def _outcomes(table: Table, n: int, close: Sequence[OpenRivals], run: Run) -> list[str]:
    """The outcomes with every choice of rivals that the paces leave open."""
    choices = [[contrast(o.treatment, rival, o.judge) for rival in o.best] for o in close]
    made = []
    for chosen in product(*choices):
        other = [list(row) for row in table]
        for rivals, taken in zip(close, chosen, strict=True):
            other[run.judges.index(rivals.judge)][RIVALS.index(rivals.role)] = taken
        made.append(_outcome(other, n, run))
    return made


def judge_word(run: Run, judge: str) -> str:
    """What a judge is called in a verdict: the primary one by its metric, the second one perception."""
    return "perception" if judge in run.judges[1:2] else metric_name(judge)


def standing(contrast: Contrast) -> str:
    """Whether a contrast alone is ``won``, ``lost`` or ``undecided``."""
    effect, p = np.array(contrast.effect), np.array(contrast.difference.p)
    return "won" if won(effect, p) else "lost" if lost(effect, p) else "undecided"


def break_even(sample: Sample, group: Sequence[Sample], run: Run) -> BreakEven | None:
    """The break-even of a treatment; None where the comparator or the cost of a stage is missing."""
    record, comparator = sample.record, _comparator(sample, group, run)
    rho = exchange_rate(sample, group, run)
    if rho is None or sample.diverged:
        return None
    sign = sample.sign(run.primary)
    target = sign * sample.mean(run.primary)
    enough = [s.record.budget for s in comparator if sign * s.mean(run.primary) >= target]
    needed = enough[0] if enough else comparator[-1].record.budget
    return BreakEven(max(0.0, (needed - record.budget) / rho), rho, bool(enough))


def exchange_rate(sample: Sample, group: Sequence[Sample], run: Run) -> float | None:
    """rho: what one first-stage step of a sample costs, in second-stage steps of the comparator.

    None where the sample has no first stage or the comparator was not run.
    """
    record, comparator, (first, second) = sample.record, _comparator(sample, group, run), run.stages
    if not comparator or not record.units.get(first):
        return None
    # The price of one second-stage step is steadiest where most of them were timed: at the largest budget.
    longest = comparator[-1]
    return sample.seconds[first] / record.units[first] / (longest.seconds[second] / longest.record.units[second])


def _comparator(sample: Sample, group: Sequence[Sample], run: Run) -> list[Sample]:
    """The comparator in the suite of a sample as the primary judge sees it, by rising budget."""
    place = run.comparator, sample.record.suite
    mine = [s for s in group if (s.record.arm, s.record.suite) == place and s.record.seen_by(run.primary)]
    return sorted(mine, key=lambda s: s.record.budget)
