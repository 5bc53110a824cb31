"""The gate in a pytest session: ``--baseline FILE`` compares after the run and decides the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dipddpm.measure.files import write_text
from dipddpm.measure.gate.baseline import NoBaseline, Section, device_type, key_of, load, section_for
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.gate.outcomes import NO_BASELINE, NOTHING
from dipddpm.measure.record import Measure, MeasureError, Run

GATE: pytest.StashKey[Gate] = pytest.StashKey()


class Gate:
    """The baseline of a session, and what came of it.

    Args:
        file: the baseline; folder: where ``gate.md`` goes, for a job summary.
        dedicated: the machine does nothing else.
    """

    def __init__(self, file: Path, folder: Path, dedicated: bool = False):
        self.file, self.folder, self.dedicated = file, folder, dedicated
        self.sections: Mapping[str, Section] = {}
        self.told: list[str] = []  # for the terminal

    def open(self) -> None:
        """Read the baseline before anything runs; a session without one ends here, in one line and with exit code 3."""
        with self._refusing():
            self.sections = load(self.file)

    def check(self, run: Run | None) -> None:
        """Before the first test: is there a baseline for this device?"""
        if run is not None:
            with self._refusing():
                section_for(run, self.sections, self.file)

    def close(self, run: Run | None, reruns: Mapping[str, Callable[[], Measure]]) -> int:
        """Compare, after measuring again what is suspicious or unsteady; the exit code."""
        if run is None or not (run.records or run.failed):
            self._tell(f"{self.file}: nothing was measured, so nothing holds")
            return NOTHING
        section = section_for(run, self.sections, self.file)
        confirm(run, section, reruns, self.dedicated)
        found = compare(run, section, device=device_type(run), dedicated=self.dedicated)
        write_text(self.folder / "gate.md", found.markdown(self.file.as_posix()))
        self.told = [part for part in (found.table(), found.summary(self.file.as_posix())) if part]
        return found.code

    def _tell(self, text: str) -> None:
        self.told = [text]
        write_text(self.folder / "gate.md", f"# Baseline gate\n\n{text}\n")

    def _refusing(self) -> _Refusing:
        return _Refusing(self._tell)


class _Refusing:
    """Turns an error of the baseline into the end of the session, told in one line and in ``gate.md``."""

    def __init__(self, tell: Callable[[str], None]):
        self.tell = tell

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MeasureError):
            self.tell(str(error))
            if isinstance(error, NoBaseline):
                pytest.exit(str(error), returncode=NO_BASELINE)
            raise pytest.UsageError(str(error)) from error


def confirm(run: Run, section: Section, reruns: Mapping[str, Callable[[], Measure]], dedicated: bool = False) -> None:
    """Measure once more each time that is suspicious or unsteady; the run keeps the reruns beside the first."""
    for finding in compare(run, section, dedicated=dedicated).of("inconclusive"):
        if finding.key in reruns:
            (at,) = (i for i, record in enumerate(run.records) if key_of(record) == finding.key)
            record = run.records[at]
            measure = record.measures[finding.metric]
            again = replace(measure, reruns=(*measure.reruns, reruns[finding.key]()))
            run.records[at] = replace(record, measures={**record.measures, finding.metric: again})


def selection(config: pytest.Config) -> str:
    """Why a session does not run the whole of the suites that it was pointed at; "" if it does."""
    option, folders = config.getoption, [Path(arg).resolve() for arg in config.args if Path(arg).is_dir()]
    files = {arg: Path(arg.split("::")[0]) for arg in config.args}
    why = [arg for arg, file in files.items() if file.is_file() and file.resolve().parent not in folders]
    why += [f"-{name} {option(long)!r}" for name, long in (("k", "keyword"), ("m", "markexpr")) if option(long, None)]
    others = ("lf", "deselect", "ignore", "ignore_glob", "collectonly")
    why += [f"--{name.replace('_', '-')}" for name in others if option(name, None)]
    return " ".join(why)


def partial(session: pytest.Session) -> str:
    """Why a session did not run the whole of the suites that it was pointed at; "" if it did."""
    early = ["stopped early"] if session.shouldstop or session.shouldfail else []
    return " ".join(part for part in (selection(session.config), *early) if part)
