"""The verdict on one group, in words, from the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import holm
from dipddpm.report.contrast import Contrast, Sample, against_best_control, against_part

Outcome = Literal["pays", "does not pay", "inconclusive"]
LEVEL = 0.05


@dataclass(frozen=True)
class BreakEven:
    """How many first-stage steps the best treatment could afford before the reference arm is the cheaper way there.

    Attributes:
        iterations: ``(K_reference - K_treatment) / rho``.
        rho: cost of one first-stage step over that of one second-stage step.
        reached: the reference arm reaches the treatment's mean within its largest budget; if not, ``iterations`` is a
            lower bound.
    """

    iterations: float
    rho: float
    reached: bool


@dataclass(frozen=True)
class Verdict:
    """Does the treatment pay, in one group?

    Attributes:
        best: the treatment with the best mean; tried: how many treatments it was the best of.
        control, part: its contrasts; adjusted: their p-values, adjusted (Holm) for all contrasts of all treatments.
    """

    outcome: Outcome
    best: Sample
    tried: int
    control: Contrast
    part: Contrast | None
    adjusted: tuple[float, float | None]
    break_even: BreakEven | None


def verdict(group: Sequence[Sample], run: Run) -> Verdict | None:
    """Judge the best of the treatments of a group; None where no treatment has a control as cheap.

    It *pays* if it beats both the best cheap control and its own first stage alone, each at equal total cost; it *does
    not pay* if either beats it. To beat is: the 95 % interval excludes 0 and the adjusted p-value is below 0.05. Where
    its first stage alone was not run, nothing says that it pays.
    """
    primary = run.primary
    judged = []
    for sample in group:
        if sample.record.role == "treatment" and sample.record.chosen and sample.record.leak == "none":
            control = against_best_control(sample, group, primary)
            if control:
                judged.append((sample, control, against_part(sample, group, primary)))
    if not judged:
        return None
    sign = 1 if judged[0][0].record.measures[primary].higher_is_better else -1
    means = np.array([sign * j[0].values[primary].mean() for j in judged])
    best = int(np.where(np.isnan(means), -np.inf, means).argmax())  # one that diverged is not the best
    sample, control, part = judged[best]
    # The best of many tries is judged by the standard of many tries: every contrast that could have been quoted counts.
    adjusted = holm([j[1].p for j in judged] + [j[2].p for j in judged if j[2]])
    p_control = adjusted[best]
    p_part = adjusted[len(judged) + sum(1 for j in judged[:best] if j[2])] if part else None

    def side(contrast: Contrast, p: float) -> int:
        d = contrast.difference
        beaten = d.low > 0 or d.high < 0
        return 0 if not beaten or p >= LEVEL else (1 if sign * d.mean > 0 else -1)

    sides = [side(control, p_control), side(part, p_part) if part and p_part is not None else 0]
    outcome: Outcome = "does not pay" if -1 in sides else "pays" if all(s == 1 for s in sides) else "inconclusive"
    even = break_even(sample, group, run)
    return Verdict(outcome, sample, len(judged), control, part, (p_control, p_part), even)


def break_even(sample: Sample, group: Sequence[Sample], run: Run) -> BreakEven | None:
    """See :class:`BreakEven`; None where the reference arm or a stage's cost is missing."""
    record, reference = sample.record, _reference(sample, group, run)
    rho = exchange_rate(sample, group, run)
    if rho is None:
        return None
    sign = 1 if record.measures[run.primary].higher_is_better else -1
    target = sign * sample.values[run.primary].mean()
    enough = [s.record.budget for s in reference if sign * s.values[run.primary].mean() >= target]
    needed = enough[0] if enough else reference[-1].record.budget
    return BreakEven(max(0.0, (needed - record.budget) / rho), rho, bool(enough))


def exchange_rate(sample: Sample, group: Sequence[Sample], run: Run) -> float | None:
    """rho: what one first-stage step of a sample costs, in second-stage steps of the reference arm; None where it has
    no first stage or the reference arm was not run."""
    record, reference, (first, second) = sample.record, _reference(sample, group, run), run.stages
    if not reference or not record.units.get(first):
        return None
    # The dearest run of the reference gives the steadiest price of one second-stage step.
    dearest = reference[-1].record
    return record.seconds[first] / record.units[first] / (dearest.seconds[second] / dearest.units[second])


def _reference(sample: Sample, group: Sequence[Sample], run: Run) -> list[Sample]:
    """The reference arm, by rising budget."""
    mine = [s for s in group if s.record.arm == run.comparator and s.record.suite == sample.record.suite]
    return sorted(mine, key=lambda s: s.record.budget)


def sentence(found: Verdict | None, run: Run) -> str:
    """The verdict as a paragraph of Markdown."""
    if found is None:
        return "**No verdict**: no treatment was run together with a control that is as cheap."
    record, unit = found.best.record, found.best.record.measures[run.primary].unit

    def told(contrast: Contrast, p: float, what: str) -> str:
        d, rival = contrast.difference, contrast.rival.record
        at = f" with {rival.budget} NFE" if rival.budget else ""
        return (
            f"{d.mean:+.2f} {unit} [{d.low:+.2f}, {d.high:+.2f}] (p = {p:.2g}) against {what} at equal total cost, "
            f"{rival.arm}{at}"
        )

    parts = [told(found.control, found.adjusted[0], "the best cheap control")]
    if found.part and found.adjusted[1] is not None:
        parts.append(told(found.part, found.adjusted[1], "its prior alone"))
    else:
        parts.append("its prior alone was not run, so that nothing says what the diffusion adds to it")
    said = f"is {found.outcome}" if found.outcome == "inconclusive" else found.outcome
    several = "s" if found.tried > 1 else ""
    text = (
        f"**The DIP start {said}.** Best of {found.tried} DIP setting{several}: {record.arm} with {record.budget} NFE, "
        f"{found.best.cost:.3f} s an image. "
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
