"""A verdict in plain words, as Markdown. Every number comes from the contrasts that the verdict was reached by."""

from __future__ import annotations

import math

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import LEVEL
from dipddpm.report.comparisons import Tested
from dipddpm.report.contrast import Contrast, Sample
from dipddpm.report.metric_names import metric_name
from dipddpm.report.verdict import CANNOT_TELL, LEAST_CLUSTERS, TOO_FEW, TOO_SMALL, Verdict, standing

CLAIMS = {
    TOO_FEW: "**No verdict: too few photographs, {n} of the {least} that it takes.**",
    TOO_SMALL: "**Cannot tell: n too small.** No p-value of {n} photographs could be small enough.",
    CANNOT_TELL: "**Whether the DIP start pays, this run cannot tell.**",
}
RIVAL_WORDS = {
    "control": "the best control that costs no more",
    "part": "the best DIP alone that costs no more",
}
MOST_NAMED = 4  # arms in a line
NO_VERDICT = "**No verdict**: no treatment was run together with a rival that is as cheap."


def sentence(found: Verdict | None, run: Run) -> str:
    """The verdict: the claim, then for each judge the treatment that it tested and its two contrasts."""
    if found is None:
        return NO_VERDICT
    images = len(found.tested[0].treatment.record.items)
    lines = [f"{claim(found)} n = {found.n} photographs" + (f" ({images} images)." if images != found.n else ".")]
    for judge in run.judges:
        tested = next((t for t in found.tested if t.judge == judge), None)
        unknown = f"- By {metric_name(judge)}: no treatment was scored on validation images."
        lines += _by_judge(tested, found) if tested else [unknown]
    lines += [f"- {text}" for text in open_words(found)]
    if even := break_even_words(found, run):
        lines.append(f"- {even}")
    return "\n".join(lines)


def open_words(found: Verdict) -> list[str]:
    """What paces that move within their intervals would change, in sentences; none where no set of rivals does."""
    lines = []
    for rivals in found.open:
        cost = f"{seconds(rivals.treatment.cost)} of {_named(rivals.treatment)}"
        close = ", ".join(f"{_named(sample)} ({seconds(sample.cost)})" for sample in rivals.close[:MOST_NAMED])
        more = f" and {len(rivals.close) - MOST_NAMED} more" if len(rivals.close) > MOST_NAMED else ""
        best = [_named(sample) if sample else "none" for sample in rivals.best]
        then = f"the best one could be {' or '.join(best)}" if len(best) > 1 else "the best one stays the same"
        lines.append(
            f"Within the intervals of the paces, by {metric_name(rivals.judge)}: whether {close}{more} costs more "
            f"than the {cost} is open; {then}."
        )
    if lines:
        others = [outcome for outcome in found.could_be if outcome != found.outcome]
        changed = f"**The verdict could then be: {'; or '.join(others)}.**"
        lines[-1] += f" {changed}" if others else " The verdict stays the same."
    return lines


def _named(sample: Sample) -> str:
    record = sample.record
    return f"{record.arm}, {record.budget} NFE" if record.budget else record.arm


def claim(found: Verdict | None) -> str:
    """What is claimed, in bold."""
    if found is None:
        return NO_VERDICT
    return CLAIMS.get(found.outcome, "**The DIP start {outcome}.**").format(
        outcome=found.outcome, n=found.n, least=LEAST_CLUSTERS
    )


def break_even_words(found: Verdict, run: Run) -> str:
    """What an iteration of the first stage costs, and how many of them could pay; "" where that is not known."""
    if (even := found.break_even) is None:
        return ""
    what, most = metric_name(run.primary), f"{even.iterations:.0f} iterations"
    return f"One iteration of the DIP costs {even.rho:.2f} NFE, so that " + (
        f"noise is the cheaper way to this {what} than any DIP of more than {most}."
        if even.reached
        else f"the budgets run for noise buy {most}; noise does not get there with them."
    )


def described(sample: Sample) -> str:
    """An arm with its budget, setting, averaged samples, cost and what of it lies on the edge of a grid."""
    record = sample.record
    parts = [record.arm]
    if record.budget:
        parts.append(f"{record.budget} NFE")
    parts += [str(setting)] if (setting := record.axes.get("setting")) else []
    parts.append(f"{seconds(sample.cost)} per image")
    edges = f" (on the edge of its grid: {'; '.join(record.edges)})" if record.edges else ""
    return ", ".join(parts) + edges


def seconds(value: float) -> str:
    """Seconds with three digits, or milliseconds where they are few."""
    return f"{value:.3g} s" if value >= 0.1 else f"{1e3 * value:.3g} ms"


def difference(contrast: Contrast, with_unit: bool = True) -> str:
    """A difference with its interval: ``+0.31 dB [-0.10, +0.72]``."""
    d, measure = contrast.difference, contrast.sample.record.measures[contrast.judge]
    form = digits(measure.unit)
    unit = f" {measure.unit}" if measure.unit and with_unit else ""
    interval = f" [{d.low:+{form}}, {d.high:+{form}}]" if math.isfinite(d.low) else " (one photograph: no interval)"
    return f"{d.mean:+{form}}{unit}{interval}"


def digits(unit: str) -> str:
    """The format of a value: hundredths of a dB, else four decimals."""
    return ".2f" if unit == "dB" else ".4f"


def _by_judge(tested: Tested, found: Verdict) -> list[str]:
    treatment, judge = tested.treatment, tested.judge
    lower = "" if treatment.sign(judge) > 0 else " (lower is better)"
    best = f"the best of {tested.candidates} DIP settings on validation images" if tested.candidates > 1 else "tested"
    lines = [f"- By {metric_name(judge)}{lower}, {best}: {described(treatment)}."]
    if treatment.diverged:
        return [*lines, f"  - It diverged on {_images(treatment)}, and is compared with nothing."]
    for role, words in RIVAL_WORDS.items():
        contrast, lost = tested.contrasts[role], tested.diverged.get(role)
        unknown = f"{described(lost)}: diverged on {_images(lost)}." if lost else "none was run."
        lines.append(f"  - Against {words}: " + (contrast_words(contrast, found) if contrast else unknown))
    return lines


def _images(sample: Sample) -> str:
    return f"{sample.diverged} of {len(sample.record.items) * len(sample.repeats)} test images"


def contrast_words(contrast: Contrast, found: Verdict) -> str:
    """A contrast in words: the rival, the difference, whether it decides, and what it could have shown."""
    measure = contrast.sample.record.measures[contrast.judge]
    text = f"{described(contrast.rival)}: {difference(contrast)}"
    if found.outcome != TOO_FEW:
        text += f", p = {contrast.difference.p:.2g}: {standing(contrast)}"
        if LEVEL / 2 <= contrast.difference.p < LEVEL and contrast.effect < 0:
            text += " (a rival wins at p < 0.025)"
    if math.isfinite(contrast.detectable):
        unit = f" {measure.unit}" if measure.unit else ""
        shown = f"{contrast.detectable:{digits(measure.unit)}}{unit}"
        text += f". So many photographs show an effect of {shown} in 80 % of runs."
    repaid = training_words(contrast)
    return f"{text} {repaid}" if repaid else text


def training_words(contrast: Contrast) -> str:
    """After how many images the training of a learned rival is repaid; "" for a rival without one."""
    if not (training := contrast.rival.record.training_seconds):
        return ""
    return f"Learned: its training of {seconds(training)} " + (
        f"is repaid after {math.ceil(contrast.images_to_repay):,} images."
        if math.isfinite(contrast.images_to_repay)
        else "is never repaid, because it is no cheaper."
    )
