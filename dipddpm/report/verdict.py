"""The verdict on one group: does the treatment pay? Computed and worded from the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import Contrast, Sample

Outcome = Literal["pays", "does not pay", "inconclusive"]
LEVEL = 0.05


@dataclass(frozen=True)
class BreakEven:
    """How many first-stage steps a treatment could afford before the comparator gets as far at a lower cost.

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
        best: the treatment with the best mean.
        tried: how many treatments it is the best of.
        control, part: its contrasts with the best affordable control and with its first stage alone.
        adjusted: their p-values, adjusted (Holm) for all contrasts of all treatments.
        break_even: None where the comparator or the cost of a stage is missing.
    """

    outcome: Outcome
    best: Sample
    tried: int
    control: Contrast
    part: Contrast | None
    adjusted: tuple[float, float | None]
    break_even: BreakEven | None


def verdict(comparisons: Comparisons, group: str) -> Verdict | None:
    """Judge the best treatment of a group; None where no treatment has a control that costs no more.

    It *pays* if it beats both the best affordable control and its own first stage alone, each at equal total cost. It
    *does not pay* if either of them beats it. To beat means that the 95 % interval excludes 0 and that the adjusted
    p-value is below 0.05. A treatment whose first stage alone was not run cannot pay.
    """
    run, judged = comparisons.run, comparisons.candidates(group)
    if not judged:
        return None
    sign = 1 if judged[0].record.measures[run.primary].higher_is_better else -1
    means = np.array([sign * s.values[run.primary].mean() for s in judged])
    best = judged[int(np.where(np.isnan(means), -np.inf, means).argmax())]  # a treatment that diverged has mean NaN
    contrasts, adjusted = comparisons.contrasts(best), comparisons.adjusted(group)
    control, part = contrasts["control"], contrasts["part"]
    assert control is not None  # candidates have one
    p_control, p_part = adjusted[best, "control"], adjusted.get((best, "part"))

    def winner(contrast: Contrast, p: float) -> int:
        """1 if the treatment beats the rival, -1 if the rival beats it, 0 if neither is shown."""
        d = contrast.difference
        decided = (d.low > 0 or d.high < 0) and p < LEVEL
        return 0 if not decided else 1 if sign * d.mean > 0 else -1

    winners = [winner(control, p_control), winner(part, p_part) if part and p_part is not None else 0]
    outcome: Outcome = (
        "does not pay" if -1 in winners else "pays" if all(w == 1 for w in winners) else "inconclusive"
    )  # fmt: skip
    even = break_even(best, comparisons.in_group(group), run)
    return Verdict(outcome, best, len(judged), control, part, (p_control, p_part), even)


def break_even(sample: Sample, group: Sequence[Sample], run: Run) -> BreakEven | None:
    """The break-even of a treatment; None where the comparator or the cost of a stage is missing."""
    record, comparator = sample.record, _comparator(sample, group, run)
    rho = exchange_rate(sample, group, run)
    if rho is None:
        return None
    sign = 1 if record.measures[run.primary].higher_is_better else -1
    target = sign * sample.values[run.primary].mean()
    enough = [s.record.budget for s in comparator if sign * s.values[run.primary].mean() >= target]
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
    longest = comparator[-1].record
    return record.seconds[first] / record.units[first] / (longest.seconds[second] / longest.units[second])


def _comparator(sample: Sample, group: Sequence[Sample], run: Run) -> list[Sample]:
    """The comparator in the suite of a sample, by rising budget."""
    mine = [s for s in group if s.record.arm == run.comparator and s.record.suite == sample.record.suite]
    return sorted(mine, key=lambda s: s.record.budget)


def sentence(found: Verdict | None, run: Run) -> str:
    """The verdict as a paragraph of Markdown."""
    if found is None:
        return "**No verdict**: no treatment was run together with a control that is as cheap."
    parts = [_difference(found, found.control, found.adjusted[0], "the best cheap control", run)]
    if found.part and found.adjusted[1] is not None:
        parts.append(_difference(found, found.part, found.adjusted[1], "its prior alone", run))
    else:
        parts.append("its prior alone was not run, so that nothing says what the diffusion adds to it")
    record = found.best.record
    claim = f"is {found.outcome}" if found.outcome == "inconclusive" else found.outcome
    several = "s" if found.tried > 1 else ""
    text = (
        f"**The DIP start {claim}.** Best of {found.tried} DIP setting{several}: {record.arm} with {record.budget} "
        f"NFE, {found.best.cost:.3f} s per image. "
        + "; ".join(parts)
        + f". n = {found.control.difference.n} images, p adjusted (Holm) for every setting tried."
    )
    if (even := found.break_even) is not None:
        text += f" One DIP iteration costs {even.rho:.2f} NFE, so that "
        text += (
            f"noise is the cheaper way to this mean than any DIP of more than {even.iterations:.0f} iterations."
            if even.reached
            else f"the budgets run for noise buy {even.iterations:.0f} iterations; noise does not get there with them."
        )
    if found.outcome == "pays":
        text += (
            f" This is a win in {run.primary.upper()} alone: how natural the images look was not judged in this table."
        )
    return text


def _difference(found: Verdict, contrast: Contrast, p: float, rival: str, run: Run) -> str:
    """One contrast in words: difference, interval, p-value and rival."""
    d, record = contrast.difference, contrast.rival.record
    unit = found.best.record.measures[run.primary].unit
    budget = f" with {record.budget} NFE" if record.budget else ""
    return (
        f"{d.mean:+.2f} {unit} [{d.low:+.2f}, {d.high:+.2f}] (p = {p:.2g}) against {rival} at equal total cost, "
        f"{record.arm}{budget}"
    )
