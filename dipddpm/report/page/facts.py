"""What a reader has to know beside the numbers: how they came about, on which machine, and what they cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dipddpm.measure.record import Run
from dipddpm.report import populations
from dipddpm.report.comparisons import Comparisons, Tested
from dipddpm.report.metric_names import metric_name
from dipddpm.report.population_contrasts import cannot_tell
from dipddpm.report.sentence import digits
from dipddpm.report.splits import named
from dipddpm.report.verdict import CANNOT_TELL, LEAST_CLUSTERS, TOO_FEW, TOO_SMALL, Verdict
from dipddpm.report.words import words

MACHINE = (
    "gpu",
    "cpu",
    "cores",
    "threads",
    "memory_gib",
    "system",
    "python",
    "torch",
    "blas",
    "allocator",
    "gpu_driver",
)


def machine(run: Run) -> dict[str, str]:
    """What the run ran on, as far as it is known."""
    return {words(name): str(run.machine[name]) for name in MACHINE if run.machine.get(name)}


def limits(comparisons: Comparisons, verdicts: dict[str, Verdict | None]) -> list[str]:
    """What this run cannot tell, each in a sentence with the number that says so."""
    run = comparisons.run
    return [
        *_of_the_session(run),
        *_of_verdicts(verdicts, run),
        *_of_populations(run),
        "How it is with another denoiser or other photographs: this run has one denoiser "
        f"({run.settings.get('denoiser', 'unnamed')}) and one set of data ({run.settings.get('data', 'unnamed')}).",
        "How long it takes elsewhere: seconds are those of one machine, and a faster fit or evaluation moves every "
        "comparison at equal cost.",
    ]


def _of_the_session(run: Run) -> list[str]:
    said = []
    if run.selected:
        said.append(f"Anything about the suites that were not run. This run is a part: {run.selected}.")
    if run.failed:
        said.append(f"Anything about the {run.failed} tests that failed: their rows are missing.")
    if copies := run.splits.get("equal", 0) + run.splits.get("near", 0):
        said.append(f"How it is with images that no other split has; pairs in different splits: {copies}{named(run)}.")
    repeats = {r.repeat for r in run.records}
    if len(repeats) == 1:
        said.append("How much another seed changes: every number is of a single seed.")
    return said


def _of_verdicts(verdicts: dict[str, Verdict | None], run: Run) -> list[str]:
    said = []
    for group, found in verdicts.items():
        if found is None:
            continue
        if found.outcome == TOO_FEW:
            few = f"{found.n} photographs of the {LEAST_CLUSTERS} that it takes"
            said.append(f"{words(group)}: whether a DIP start pays. It has {few}.")
        elif found.outcome in (CANNOT_TELL, TOO_SMALL):
            effects = "; ".join(filter(None, map(_detectable, found.tested)))
            shown = f" {found.n} photographs show these effects in 80 % of runs: {effects}." if effects else ""
            said.append(f"{words(group)}: whether a DIP start pays.{shown}")
        edges = sorted({edge for t in found.tested for edge in t.treatment.record.edges})
        if edges:
            lies = f"It lies on the edge: {'; '.join(edges)}."
            said.append(f"{words(group)}: whether the treatment gets better beyond its grid. {lies}")
        if found.break_even and not found.break_even.reached:
            said.append(f"{words(group)}: where noise gets as far. It does not with the budgets that were run.")
    return said


def _detectable(tested: Tested) -> str:
    """The effects that the contrasts of a judge could have shown; "" without any."""
    unit = tested.treatment.record.measures[tested.judge].unit
    known = [c.detectable for c in tested.contrasts.values() if c and math.isfinite(c.detectable)]
    shown = " and ".join(f"{value:{digits(unit)}} {unit}".strip() for value in known)
    return f"{shown} by {metric_name(tested.judge)}" if known else ""


def _of_populations(run: Run) -> list[str]:
    said: Sequence[str] = [
        text for members in populations.groups(run)
        for text in cannot_tell(members, run, populations.common_suffix(members))
    ]  # fmt: skip
    return list(said)
