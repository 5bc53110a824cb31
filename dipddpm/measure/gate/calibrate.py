"""Calibration: run the suites against themselves and write the noise floor beside the baseline.

Every run is a process of its own, as in CI, and is kept: the same command goes on where it was stopped, and begins
afresh when the code or the machine is another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dipddpm.measure.content import digest
from dipddpm.measure.files import write_text
from dipddpm.measure.gate.baseline import Entry, Section, entries_of, load, write
from dipddpm.measure.gate.compare import compare, settings_that_differ
from dipddpm.measure.gate.noise_floor import DRAWS, LOSSES, SLOWDOWNS, losses_caught, repeated, slowdowns_caught, times
from dipddpm.measure.gate.noise_floor import quality_floor as differences
from dipddpm.measure.gate.outcomes import HOLDS, REGRESSION
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.record import MeasureError, Run

PARTS = ("timing", "quality", "hog", "detection")
HOG = """import os, random, time
parent = os.getppid()
while os.getppid() == parent:  # whatever ends that one, even a kill, ends this one
    end = time.time() + random.uniform(0.05, 2)
    while time.time() < end: pass
    time.sleep(random.uniform(0.05, 1))
"""


class Calibration:
    """The calibration of one section of a baseline file.

    Args:
        file, device: the section.
        options: pytest options that make the suites run as they did for the baseline.
        suites: folder of the suites.
        say: what is told of the progress.
    """

    def __init__(
        self,
        file: Path,
        device: str,
        options: Sequence[str] = (),
        suites: Path = Path("bench"),
        say: Callable[[str], object] = print,
    ):
        self.file, self.device, self.options, self.suites, self.say = file, device, list(options), suites, say
        self.folder = Path(".dipddpm/calibration") / f"{file.stem}-{device}-{self._state()}"

    def section(self) -> Section:
        """The section as it stands in the file, whatever its tolerances."""
        sections = load(self.file, check=False)
        if self.device not in sections:
            raise MeasureError(f"{self.file}: no section {self.device!r} to calibrate, only {', '.join(sections)}")
        return sections[self.device]

    def timing(self, repeats: int) -> str:
        """Measure the times in ``repeats`` runs and write their floor; the table."""
        section = self.section()
        runs = [self._run(f"timing-{i:02}", self._speed_suites(section)) for i in range(repeats)]
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
        return self._wrote("timing", rows, {"timing": {"repeats": repeats}}, listed)

    def quality(self) -> str:
        """Run all suites with a cold cache, as they are and with another number of threads, and write the floor."""
        section, threads = self.section(), machine()["threads"]
        other = 1 if threads > 1 else 2
        again = self._run("quality-same", [self.suites])
        elsewhere = self._run("quality-other", [self.suites], threads=other)
        for run in (again, elsewhere):
            if differs := settings_that_differ(run, section):
                raise MeasureError(f"{self.file} was made with other options ({differs}): give them after --")
        pairs: list[tuple[str, Mapping[str, Entry], Run]] = [("other", entries_of(again), elsewhere)]
        where = "same" if again.machine["id"] == section.machine["id"] else "other"
        pairs += [(where, section.entries, again), ("other", section.entries, elsewhere)]
        tolerances = _tolerances(section)
        general: dict[str, dict[str, float]] = {}
        listed: dict[str, dict[str, dict[str, float]]] = {}
        for where, before, run in pairs:
            largest, noisy = differences(before, entries_of(run), where, tolerances)
            _raise(general, largest)
            for key, by in noisy.items():
                _raise(listed.setdefault(key, {}), by)
        rows = {
            f"{key or 'every other entry'}: {metric}": {at: f"{value:.3g}" for at, value in values.items()}
            for key, by in {"": general, **listed}.items()
            for metric, values in by.items()
        }
        for key, (a, b) in times([again, elsewhere]).items():
            ratio = np.median(np.asarray(b.values)) / np.median(np.asarray(a.values))
            rows[f"{key}: time with {other} threads"] = {"other": f"x {ratio:.2f}"}
        return self._wrote("quality", rows, general, listed)

    def hog(self, repeats: int, processes: int) -> str:
        """The gate itself, ``repeats`` times, on unchanged code beside processes that come and go; the count."""
        section, codes = self.section(), []
        for i in range(repeats):
            name = f"hog-{processes}-{i:02}"
            with busy(processes if not self._kept(name).exists() else 0):
                run = self._run(name, self._speed_suites(section), ["--baseline", str(self.file)])
            codes.append(compare(run, section, device=self.device).code)
        rows = {
            f"unchanged code beside {processes} busy processes": {
                "runs": str(repeats),
                "false alarms": str(codes.count(REGRESSION)),
                "holds": str(codes.count(HOLDS)),
                "inconclusive": str(repeats - codes.count(REGRESSION) - codes.count(HOLDS)),
            }
        }
        return self._told("hog", rows)

    def detection(self) -> str:
        """Effects planted in the kept runs of :meth:`timing` and :meth:`quality`: caught in how many of ten."""
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
            if self._kept(name).exists():
                for loss in LOSSES:
                    caught, of = losses_caught(Run.load(self._kept(name)), section, loss)
                    metric = next(iter(section.thresholds))
                    rows.setdefault(f"{metric}, {loss:g} worse", {})[name.replace("-", ", ")] = f"{caught} of {of}"
        if not rows:
            raise MeasureError(f"{self.folder}: nothing kept to plant effects in: calibrate timing or quality first")
        return self._told("detection", rows)

    def _speed_suites(self, section: Section) -> list[Path]:
        """Files of the suites that measure times against the reference."""
        origins = {e.origin for e in section.entries.values() if any(m.kind == "timing" for m in e.measures.values())}
        if not origins:
            raise MeasureError(f"{self.file}: its section {self.device!r} holds no time to calibrate")
        return [self.suites / f"{origin}.py" for origin in sorted(origins)]

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _run(self, name: str, paths: Sequence[Path], options: Sequence[str] = (), threads: int | None = None) -> Run:
        """The kept run of that name, or one made now with a cold cache."""
        kept = self._kept(name)
        if kept.exists():
            return Run.load(kept)
        started = time.monotonic()
        environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        with tempfile.TemporaryDirectory() as scratch:
            places = ["--results", f"{scratch}/results", "--cache", f"{scratch}/cache"]
            command = [sys.executable, "-m", "pytest", *map(str, paths), "-q", "-p", "no:cacheprovider", *places]
            made = subprocess.run(
                [*command, "--device", self.device, *self.options, *options],
                env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False,
            )  # fmt: skip
            files = sorted(Path(scratch).glob("results/run-*.json"))
            run = Run.load(files[-1]) if files else None
            if run is None or run.failed or run.broken_off:
                last = "\n".join((made.stdout + made.stderr).strip().splitlines()[-15:])
                raise MeasureError(f"calibration run {name} failed with exit code {made.returncode}:\n{last}")
        run.save(kept)
        self.say(f"{name}: {time.monotonic() - started:.0f} s")
        return run

    def _wrote(self, part: str, rows: Mapping, general: Mapping, listed: Mapping) -> str:
        """Put a part's floor into the file and say which tolerances it forbids; the table."""
        sections = load(self.file, check=False)
        section = sections[self.device]
        mine = ("timing",) if part == "timing" else tuple(general) + tuple(m for by in listed.values() for m in by)
        entries = {
            key: kept
            for key, by in section.floor.get("entries", {}).items()
            if (kept := {metric: values for metric, values in by.items() if metric not in mine})
        }
        for key, by in listed.items():
            entries[key] = {**entries.get(key, {}), **by}
        rest = {metric: values for metric, values in section.floor.items() if metric not in (*mine, "entries")}
        # of the baseline's own machine ("same") another one can say nothing: what it once said stays
        general = {metric: {**_same(section.floor.get(metric)), **values} for metric, values in general.items()}
        section.floor = {**rest, **general, "entries": dict(sorted(entries.items()))}
        write(self.file, sections)
        for message in _tolerances(section).below_floor():
            self.say(f"{self.file}: {message}")
        return self._told(part, rows)

    def _told(self, part: str, rows: Mapping) -> str:
        table = pd.DataFrame(rows).T.fillna("").to_markdown(disable_numparse=True)
        write_text(self.folder / f"{part}.md", table + "\n")
        return table

    def _state(self) -> str:
        """What makes earlier runs of no use: other code, another machine, other options."""
        package = Path(__file__).parents[2]
        files = sorted([*package.rglob("*.py"), *self.suites.glob("*.py")])
        code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        return digest([code, machine()["id"], self.options])[:8]


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes beside this one that take a CPU each, on and off."""
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _same(floor: Mapping | None) -> dict[str, float]:
    return {"same": floor["same"]} if floor and "same" in floor else {}


def _tolerances(section: Section) -> Tolerances:
    return Tolerances.read(section.tolerances, section.floor)


def _raise(into: dict, by: Mapping[str, Mapping[str, float]]) -> None:
    """The larger of two floors, metric by metric."""
    for metric, values in by.items():
        for where, value in values.items():
            held = into.setdefault(metric, {})
            held[where] = max(held.get(where, 0.0), value)
