"""Comparison of a run with a baseline: what regressed, improved, is new, missing, incomparable or inconclusive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dipddpm.measure.content import digest
from dipddpm.measure.gate.baseline import BaselineEntry, Section, entries_of, gated
from dipddpm.measure.gate.keys import BY, shared_keys
from dipddpm.measure.gate.outcomes import Comparison, Finding, Outcome
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.instruments.paired_timing import LEAST_PAIRS, judge
from dipddpm.measure.record import Measure, Run
from dipddpm.measure.statistics import budget_to_reach

FREE_SETTINGS = ("device",)  # settings that may differ: they say where a run took place, not what was run
LEAST_IMAGES = 8  # the mean over fewer images differs between machines by how these round


def compare(run: Run, section: Section, *, device: str = "cpu", dedicated: bool = False) -> Comparison:
    """Compare every entry of the baseline with the run's.

    Args:
        dedicated: the machine does nothing else. If it is also the machine of the baseline, timings are held to the
            tolerance for dedicated machines.
    """
    same = run.machine.get("id") == section.machine.get("id")
    where = "dedicated" if dedicated and same else "same" if same else "other"
    tolerances = Tolerances.read(section.tolerances, section.floor)
    raw = sum(not gated(measure) for record in run.records for measure in record.measures.values())
    made = Comparison(device, same, raw)
    now, other, shared = entries_of(run), settings_that_differ(run, section), shared_keys(run)
    gone = [] if run.selected or other else [origin for origin in section.origins if origin not in run.origins]
    for origin in gone:
        held = sum(entry.origin == origin for entry in section.entries.values())
        made.findings.append(
            Finding("missing", f"suite {origin}", "", f"the suite is gone, and with it {held} entries of the baseline")
        )
    for key, before in section.entries.items():
        if before.origin in gone:
            continue
        entry = now.get(key) or now.get(shared.get(key, ""))
        if other:
            made.findings.append(Finding("incomparable", key, "", other))
        elif entry is None and run.selected and not run.broken_off:
            made.findings.append(Finding("not selected", key, "", run.selected))
        elif entry is None:
            why = f", which was {run.selected}" if run.broken_off else ""
            made.findings.append(Finding("missing", key, "", f"in the baseline, not in the run{why}"))
        elif reason := _entries_that_differ(before, entry, run, section):
            made.findings.append(Finding("incomparable", key, "", reason))
        else:
            made.findings += _measures(key, before, entry, tolerances, where)
    if not other:
        new = [key for key in now if key not in section.entries]
        made.findings += [Finding("new", key, "", "not in the baseline") for key in new]
        made.findings += _unreached(now, section, tolerances, where)
    if run.failed:
        named = "; ".join([f"{cell}: {why}" for cell, why in run.failures.items()][:3])
        text = f"{run.failed} tests failed" + (f": {named}" if named else "")
        made.findings.append(Finding("failed", "session", "", text))
    return made


def settings_that_differ(run: Run, section: Section) -> str:
    """Names and values of settings and config that are not as in the baseline; "" if all are."""
    differing = []
    for now, before in ((run.settings, section.settings), (run.config, section.config)):
        for name in dict.fromkeys([*before, *now]):
            # Hashes are compared, because a config in memory may hold tuples where its file has lists.
            if name not in FREE_SETTINGS and digest(now.get(name)) != digest(before.get(name)):
                differing.append(f"{name}: {now.get(name, 'absent')}, baseline {before.get(name, 'absent')}")
    more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
    return "; ".join(differing[:3]) + more


def _entries_that_differ(before: BaselineEntry, now: BaselineEntry, run: Run, section: Section) -> str:
    """Why two entries of one name cannot be compared; "" if they can."""
    reasons = []
    if now.origin != before.origin:
        reasons.append(f"suite: {now.origin}, baseline {before.origin}")
    elif run.origins.get(now.origin) != section.origins.get(before.origin):
        reasons.append(f"the code of suite {now.origin} changed")
    if now.items != before.items:
        reasons.append(f"images: {now.n} ({now.items}), baseline {before.n} ({before.items})")
    if digest(now.seeds) != digest(before.seeds):
        reasons.append(f"seeds: {dict(now.seeds)}, baseline {dict(before.seeds)}")
    return "; ".join(reasons)


def _measures(
    key: str, before: BaselineEntry, now: BaselineEntry, tolerances: Tolerances, where: str
) -> Iterator[Finding]:
    for name, held in before.measures.items():
        measure = now.measures.get(name)
        if measure is None:
            yield Finding("missing", key, name, "in the baseline, not in the run")
            continue
        changed = [
            f"{what}: {_name(b)}, baseline {_name(a)}"
            for what, a, b in (
                ("direction", held.higher_is_better, measure.higher_is_better),
                ("unit", held.unit, measure.unit),
                ("kind", held.kind, measure.kind),
            )
            if a != b
        ]
        if changed:
            yield Finding("regression", key, name, "; ".join(changed))
        elif not all(math.isfinite(value) for value in measure.values):
            bad = sum(not math.isfinite(value) for value in measure.values)
            yield Finding("regression", key, name, f"NaN in {bad} of {len(measure.values)} values")
        elif held.kind == "structure":
            equal = list(measure.values) == list(held.values)
            text = f"{_list(measure)}, baseline {_list(held)}"
            yield Finding("holds" if equal else "regression", key, name, text)
        else:
            allowed = tolerances.of(key, name, held, where)
            if held.kind == "timing":
                outcome, text = _timing(held, measure, allowed)
            else:
                outcome, text = _quality(held, measure, allowed, where, now.n)
            yield Finding(outcome, key, name, text)
    for name in now.measures:
        if name not in before.measures:
            yield Finding("new", key, name, "not in the baseline")


def _quality(before: Measure, now: Measure, allowed: float, where: str, n: int) -> tuple[Outcome, str]:
    if where == "other" and 0 < n < LEAST_IMAGES:
        return "incomparable", f"a mean over {n} images; across machines it takes at least {LEAST_IMAGES}"
    a, b = (sum(m.values) / len(m.values) for m in (before, now))
    gain = (b - a) * (1 if before.higher_is_better else -1)
    unit = f" {before.unit}" if before.unit else ""
    text = f"{b:.6g}{unit}, baseline {a:.6g} ({b - a:+.3g}, allowed {allowed:.3g})"
    return "regression" if gain < -allowed else "improved" if gain > allowed else "holds", text


def _timing(before: Measure, now: Measure, allowed: float) -> tuple[Outcome, str]:
    if len(before.values) < LEAST_PAIRS or not now.yardstick:
        return "incomparable", f"fewer than {LEAST_PAIRS} ratios to the yardstick workload"
    judgement, text = judge(before, now, allowed)
    outcomes: Mapping[str, Outcome] = {"slower": "regression", "improved": "improved", "holds": "holds"}
    return outcomes.get(judgement, "inconclusive"), text


def _unreached(
    now: Mapping[str, BaselineEntry], section: Section, tolerances: Tolerances, where: str
) -> Iterator[Finding]:
    """Thresholds that at least half of the images reached in the baseline, and no longer do; budgets of the grid count.

    A value that misses the threshold by less than the tolerance of its metric still counts as having reached it.
    """
    families: dict[tuple[str, ...], dict[int, str]] = {}
    for key, entry in section.entries.items():
        parts = key.split(" / ")
        if any(not part.startswith(BY) for part in parts[5:]) or key not in now or int(parts[3]) not in section.grid:
            continue  # it is a stage, or was not run, or has a budget that not all arms run at
        if now[key].items == entry.items and (where != "other" or entry.n >= LEAST_IMAGES):
            families.setdefault((*parts[:3], *parts[4:]), {})[int(parts[3])] = key
    for budgets in families.values():
        last = budgets[max(budgets)]
        for metric, levels in section.thresholds.items():
            held = {b: section.entries[key].measures[metric] for b, key in budgets.items()
                    if metric in section.entries[key].measures and metric in now[key].measures}  # fmt: skip
            if not held:
                continue
            before = {b: m.values for b, m in held.items()}
            after = {b: now[budgets[b]].measures[metric].values for b in held}
            higher = next(iter(held.values())).higher_is_better
            slack = max(tolerances.of(budgets[b], metric, m, where) for b, m in held.items()) * (1 if higher else -1)
            for level in levels:
                was, still = (budget_to_reach(v, at, higher) for v, at in ((before, level), (after, level - slack)))
                if was.fraction >= 0.5 > still.fraction:
                    text = f"newly unreached: by {still.fraction:.0%} of the images, baseline {was.fraction:.0%}"
                    yield Finding("regression", last, f"{metric} {level:g}", text)


def _list(measure: Measure) -> str:
    return ", ".join(f"{value:.10g}" for value in measure.values)


def _name(value: object) -> str:
    return {True: "higher is better", False: "lower is better"}[value] if isinstance(value, bool) else repr(value)
