"""Promotion: a run becomes the baseline that later runs are compared with."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dipddpm.measure.content import digest
from dipddpm.measure.gate.baseline import BaselineEntry, Section, entries_of, load, save, section_of
from dipddpm.measure.instruments.paired_timing import restlessness, steady
from dipddpm.measure.record import MeasureError, Run


def promote(run: Run, reason: str, file: Path) -> Section:
    """Make a run the baseline of CPUs, or of the kind of GPU that it ran on.

    Other sections of the file stay as they are, and so do the tolerances and the noise floor of this one.

    Raises:
        MeasureError: there is no reason; the run has failures, is not whole, holds NaN or has unsteady timings; or a
            tolerance is below the noise floor.
    """
    if not reason.strip():
        raise MeasureError(f'{file}: a baseline needs a reason: add --reason "what changed, and why it is right"')
    if run.failed:
        raise MeasureError(f"the run has {run.failed} failed tests and is no baseline: mend them and run again")
    if run.selected:
        raise MeasureError(f"the run is not whole ({run.selected}) and is no baseline: run all suites of the profile")
    entries = entries_of(run)
    if not entries:
        raise MeasureError("the run measured nothing that can be gated, and is no baseline")
    for key, entry in entries.items():
        for name, measure in entry.measures.items():
            if not all(math.isfinite(value) for value in measure.values):
                raise MeasureError(f"{key}: {name} holds NaN: no baseline is made of it")
            if measure.kind == "timing" and not steady(measure):
                raise MeasureError(f"{key}: {restlessness(measure)}; promote a run from a quieter one")
    sections = load(file) if file.exists() else {}
    name = section_of(run)
    before = sections.get(name)
    section = replace(
        as_section(run, reason.strip(), time.strftime("%Y-%m-%d"), _versions()),
        tolerances=before.tolerances if before else {},
        floor=_kept(before.floor, entries) if before else {},
        entries={key: _rounded(entry) for key, entry in entries.items()},
    )
    save(file, sections | {name: section})
    return section


def as_section(run: Run, reason: str, date: str, versions: dict) -> Section:
    """A run as another one is compared with it, at the tolerances that a baseline has by default."""
    return Section(
        reason=reason,
        date=date,
        versions=versions,
        machine=run.machine,
        settings=run.settings,
        config=run.config,
        config_hash=digest(run.config),
        origins=run.origins,
        thresholds=run.thresholds,
        grid=run.grid,
        tolerances={},
        floor={},
        entries=entries_of(run),
    )


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in ("dipddpm", "torch", "numpy", "scipy")}


def _rounded(entry: BaselineEntry) -> BaselineEntry:
    """The entry without reruns, its values rounded to six digits, which is a hundredth of the smallest tolerance.

    Counts are kept exactly, since they are compared exactly.
    """

    def short(values: Sequence[float]) -> list[float]:
        return [float(f"{value:.6g}") for value in values]

    measures = {
        name: m
        if m.kind == "structure"
        else replace(m, values=short(m.values), interval=short(m.interval), yardstick=short(m.yardstick), reruns=())
        for name, m in entry.measures.items()
    }
    return replace(entry, measures=measures)


def _kept(floor: Mapping, entries: Mapping) -> dict:
    """The noise floor without the entries that the new baseline no longer has."""
    listed = {key: by for key, by in floor.get("entries", {}).items() if key in entries}
    return {**floor, **({"entries": listed} if listed or "entries" in floor else {})}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
