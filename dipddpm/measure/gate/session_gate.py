"""The gate in a pytest session: with ``--baseline FILE`` the run is compared and decides the exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dipddpm.measure.exit_codes import NO_BASELINE, NOTHING
from dipddpm.measure.files import write_text
from dipddpm.measure.gate.baseline import NoBaseline, Section, load, section_for, section_of
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.record import Measure, MeasureError, Run

GATE: pytest.StashKey[Gate] = pytest.StashKey()


class Gate:
    """Compares the run of a session with a baseline.

    Args:
        file: the baseline.
        folder: where ``gate.md`` is written, for the summary of a CI job.
        dedicated: the machine does nothing else.

    Attributes:
        messages: what the terminal shows at the end of the session.
    """

    def __init__(self, file: Path, folder: Path, dedicated: bool = False):
        self.file, self.folder, self.dedicated = file, folder, dedicated
        self.sections: Mapping[str, Section] = {}
        self.messages: list[str] = []

    def open(self) -> None:
        """Read the baseline before anything runs. Without one the session ends here, with exit code 3."""
        with self._ending_session():
            self.sections = load(self.file)

    def check(self, run: Run | None) -> None:
        """Check before the first test that there is a baseline for this CPU or GPU."""
        if run is not None:
            with self._ending_session():
                section_for(run, self.sections, self.file)

    def close(self, run: Run | None, reruns: Mapping[str, Callable[[], Measure]]) -> int:
        """Measure again what is suspicious or unsteady, compare, and return the exit code."""
        if run is None or not (run.records or run.failed):
            self._report(f"{self.file}: nothing was measured, so nothing holds")
            return NOTHING
        section = section_for(run, self.sections, self.file)
        confirm(run, section, reruns, self.dedicated)
        found = compare(run, section, device=section_of(run), dedicated=self.dedicated)
        write_text(self.folder / "gate.md", found.markdown(self.file.as_posix()))
        self.messages = [part for part in (found.table(), found.summary(self.file.as_posix())) if part]
        return found.code

    def _report(self, text: str) -> None:
        """Put one message on the terminal and into ``gate.md``."""
        self.messages = [text]
        write_text(self.folder / "gate.md", f"# Baseline gate\n\n{text}\n")

    @contextlib.contextmanager
    def _ending_session(self) -> Iterator[None]:
        """End the session with one line, which is also in ``gate.md``, if the baseline cannot be used."""
        try:
            yield
        except NoBaseline as error:
            self._report(str(error))
            pytest.exit(str(error), returncode=NO_BASELINE)
        except MeasureError as error:
            self._report(str(error))
            raise pytest.UsageError(str(error)) from error


def confirm(run: Run, section: Section, reruns: Mapping[str, Callable[[], Measure]], dedicated: bool = False) -> None:
    """Measure each suspicious or unsteady time once more. The run keeps the rerun beside the first measurement."""
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
