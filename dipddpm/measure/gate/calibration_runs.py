"""The runs of a calibration: each is a process of its own, as in CI, and is kept for the next call."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dipddpm.measure.checksum import checksum
from dipddpm.measure.content import digest
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.record import MeasureError, Run

BUSY = """import os, random, time
parent = os.getppid()
while os.getppid() == parent:  # ends with its parent, even if that one is killed
    end = time.time() + random.uniform(0.05, 2)
    while time.time() < end: pass
    time.sleep(random.uniform(0.05, 1))
"""


class CalibrationRuns:
    """Runs suites in processes and keeps what they recorded.

    Kept runs are found again only by the same code, on the same machine, with the same options.

    Args:
        name: what is calibrated; part of the name of the folder.
        device: as ``--device`` takes it.
        options: pytest options that make the suites run as they did for the baseline.
        suites: folder of the suites.
        say: is called with a line about the progress.
    """

    def __init__(
        self, name: str, device: str, options: Sequence[str], suites: Path, say: Callable[[str], object]
    ):  # fmt: skip
        self.device, self.options, self.suites, self.say = device, list(options), suites, say
        self.folder = Path(".dipddpm/calibration") / f"{name}-{device}-{self._state()}"

    def file(self, name: str) -> Path:
        """Where the run of that name is kept."""
        return self.folder / f"{name}.json"

    def run(self, name: str, paths: Sequence[Path], options: Sequence[str] = (), threads: int | None = None) -> Run:
        """The kept run of that name, or one that is made now with an empty cache.

        Raises:
            MeasureError: tests failed, or the session did not come to its end.
        """
        kept = self.file(name)
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

    def _state(self) -> str:
        """A hash of code, machine and options: if one of these changes, kept runs are of no use."""
        package = Path(__file__).parents[2]
        files = sorted([*package.rglob("*.py"), *self.suites.glob("*.py")])
        code = [checksum(path) for path in files]
        return digest([code, machine()["id"], self.options])[:8]


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Run processes beside this one that each take a CPU, on and off."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
