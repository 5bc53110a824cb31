"""Calibration: run unchanged suites several times, and write the noise floor into the baseline file.

Every run is kept. The same command goes on where it was stopped, and starts over if code or machine have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dipddpm.measure.exit_codes import HOLDS, REGRESSION
from dipddpm.measure.files import write_text
from dipddpm.measure.gate.baseline import BaselineEntry, Section, entries_of, load, section_name, write
from dipddpm.measure.gate.calibration_runs import CalibrationRuns, busy
from dipddpm.measure.gate.compare import compare, settings_that_differ
from dipddpm.measure.gate.noise_floor import DRAWS, LOSSES, SLOWDOWNS, losses_caught, repeated, slowdowns_caught, times
from dipddpm.measure.gate.noise_floor import quality_floor as differences
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.record import MeasureError, Run

PARTS = ("timing", "quality", "hog", "detection")


class Calibration:
    """The calibration of one section of a baseline file.

    Args:
        file: the baseline.
        device: as ``--device`` takes it; the section is that of CPUs, or of the card of this machine.
        options: pytest options that make the suites run as they did for the baseline.
        suites: folder of the suites.
        say: is called with a line about the progress.
    """

    def __init__(
        self,
        file: Path,
        device: str,
        options: Sequence[str] = (),
        suites: Path = Path("bench"),
        say: Callable[[str], object] = print,
    ):
        self.file, self.suites, self.say = file, suites, say
        self.name = section_name(device, machine())
        self.runs = CalibrationRuns(file.stem, device, options, suites, say)
        self.folder = self.runs.folder

    def section(self) -> Section:
        """The section as it stands in the file; its tolerances are not checked."""
        sections = load(self.file, check=False)
        if self.name not in sections:
            raise MeasureError(f"{self.file}: no section {self.name!r} to calibrate, only {', '.join(sections)}")
        return sections[self.name]

    def timing(self, repeats: int) -> str:
        """Measure the times in ``repeats`` runs and write their noise floor; a table as Markdown."""
        section = self.section()
        runs = [self.runs.run(f"timing-{i:02}", self._speed_suites(section)) for i in range(repeats)]
        tolerances, rows, listed = _tolerances(section), {}, {}
        for key, measures in times(runs).items():
            allowed = tolerances.named(key, "timing", "same") or 0.0
            found = repeated(measures, allowed)
            if np.isfinite(found.typical):
                listed[key] = {"timing": {"same": round(found.typical - 1, 3)}}
            rows[key] = {
                "A/A, 95 % within": f"x {found.typical:.3f}", "largest": f"x {found.largest:.3f}",
                "inconclusive": f"{found.inconclusive:.0%}", "false alarms": f"{found.alarms} of {found.n}",
            }  # fmt: skip
        self._write_floor("timing", {"timing": {"repeats": repeats}}, listed)
        return self._write_table("timing", rows)

    def quality(self) -> str:
        """Run all suites with an empty cache, as they are and with another number of threads; write the floor.

        Another number of threads stands for another machine: sums are then rounded in another order.
        """
        section, threads = self.section(), machine()["threads"]
        other = 1 if threads > 1 else 2
        again = self.runs.run("quality-same", [self.suites])
        elsewhere = self.runs.run("quality-other", [self.suites], threads=other)
        for run in (again, elsewhere):
            if differs := settings_that_differ(run, section):
                raise MeasureError(f"{self.file} was made with other options ({differs}): give them after --")
        pairs: list[tuple[str, Mapping[str, BaselineEntry], Run]] = [("other", entries_of(again), elsewhere)]
        where = "same" if again.machine["id"] == section.machine["id"] else "other"
        pairs += [(where, section.entries, again), ("other", section.entries, elsewhere)]
        tolerances = _tolerances(section)
        general: dict[str, dict[str, float]] = {}
        listed: dict[str, dict[str, dict[str, float]]] = {}
        for where, before, run in pairs:
            largest, noisy = differences(before, entries_of(run), where, tolerances)
            _keep_larger(general, largest)
            for key, by in noisy.items():
                _keep_larger(listed.setdefault(key, {}), by)
        rows = {
            f"{key or 'every other entry'}: {metric}": {at: f"{value:.3g}" for at, value in values.items()}
            for key, by in {"": general, **listed}.items()
            for metric, values in by.items()
        }
        for key, (a, b) in times([again, elsewhere]).items():
            ratio = np.median(np.asarray(b.values)) / np.median(np.asarray(a.values))
            rows[f"{key}: time with {other} threads"] = {"other": f"x {ratio:.2f}"}
        self._write_floor("quality", general, listed)
        return self._write_table("quality", rows)

    def hog(self, repeats: int, processes: int) -> str:
        """Run the gate ``repeats`` times on unchanged code while other processes take the CPU on and off; a table."""
        section, codes = self.section(), []
        for i in range(repeats):
            name = f"hog-{processes}-{i:02}"
            with busy(processes if not self.runs.file(name).exists() else 0):
                run = self.runs.run(name, self._speed_suites(section), ["--baseline", str(self.file)])
            codes.append(compare(run, section, device=self.name).code)
        rows = {
            f"unchanged code beside {processes} busy processes": {
                "runs": str(repeats),
                "false alarms": str(codes.count(REGRESSION)),
                "holds": str(codes.count(HOLDS)),
                "inconclusive": str(repeats - codes.count(REGRESSION) - codes.count(HOLDS)),
            }
        }
        return self._write_table("hog", rows)

    def detection(self) -> str:
        """Plant slowdowns and losses in the kept runs of timing and quality; a table of how many are found."""
        section = self.section()
        tolerances = _tolerances(section)
        runs = [Run.load(path) for path in sorted(self.folder.glob("timing-*.json"))]
        rows: dict[str, dict[str, str]] = {}
        if len(runs) >= 3:
            for key, measures in times(runs).items():
                allowed = tolerances.named(key, "timing", "same") or 0.0
                for factor in SLOWDOWNS:
                    caught = slowdowns_caught(measures, factor, allowed)
                    rows.setdefault(f"time x {factor:g}", {})[key.split(" / ")[2]] = (
                        "unsteady" if caught is None else f"{caught} of {DRAWS}"
                    )
        for name in ("quality-same", "quality-other"):
            if self.runs.file(name).exists():
                for loss in LOSSES:
                    caught, of = losses_caught(Run.load(self.runs.file(name)), section, loss)
                    metric = next(iter(section.thresholds))
                    rows.setdefault(f"{metric}, {loss:g} worse", {})[name.replace("-", ", ")] = f"{caught} of {of}"
        if not rows:
            raise MeasureError(f"{self.folder}: nothing kept to plant effects in: calibrate timing or quality first")
        return self._write_table("detection", rows)

    def _speed_suites(self, section: Section) -> list[Path]:
        """Files of the suites that measure times against the yardstick."""
        origins = {e.origin for e in section.entries.values() if any(m.kind == "timing" for m in e.measures.values())}
        if not origins:
            raise MeasureError(f"{self.file}: its section {self.name!r} holds no time to calibrate")
        return [self.suites / f"{origin}.py" for origin in sorted(origins)]

    def _write_floor(self, part: str, general: Mapping, listed: Mapping) -> None:
        """Put the noise floor that one part has measured into the file, and say which tolerances it forbids.

        Args:
            general: {metric: {where: floor}} of entries in general.
            listed: {entry: {metric: {where: floor}}} of entries that are noisier.
        """
        sections = load(self.file, check=False)
        section = sections[self.name]
        mine = ("timing",) if part == "timing" else tuple(general) + tuple(m for by in listed.values() for m in by)
        entries = {
            key: kept
            for key, by in section.floor.get("entries", {}).items()
            if (kept := {metric: values for metric, values in by.items() if metric not in mine})
        }
        for key, by in listed.items():
            entries[key] = {**entries.get(key, {}), **by}
        rest = {metric: values for metric, values in section.floor.items() if metric not in (*mine, "entries")}
        # "same" is a floor of the machine of the baseline. A calibration elsewhere cannot measure it and keeps it.
        general = {metric: {**_same(section.floor.get(metric)), **values} for metric, values in general.items()}
        section.floor = {**rest, **general, "entries": dict(sorted(entries.items()))}
        write(self.file, sections)
        for message in _tolerances(section).below_floor():
            self.say(f"{self.file}: {message}")

    def _write_table(self, part: str, rows: Mapping) -> str:
        """Write the rows as a table of Markdown beside the kept runs; the same text."""
        import pandas as pd

        table = pd.DataFrame(rows).T.fillna("").to_markdown(disable_numparse=True)
        write_text(self.folder / f"{part}.md", table + "\n")
        return table


def _same(floor: Mapping | None) -> dict[str, float]:
    return {"same": floor["same"]} if floor and "same" in floor else {}


def _tolerances(section: Section) -> Tolerances:
    return Tolerances.read(section.tolerances, section.floor)


def _keep_larger(floor: dict, other: Mapping[str, Mapping[str, float]]) -> None:
    """Raise ``floor`` to ``other`` wherever that is larger, metric by metric."""
    for metric, values in other.items():
        for where, value in values.items():
            held = floor.setdefault(metric, {})
            held[where] = max(held.get(where, 0.0), value)
