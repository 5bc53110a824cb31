"""REPRODUCE.md: the command that makes a published report again, what has to agree, and how near it then comes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from dipddpm.measure.checksum import checksum
from dipddpm.measure.escape import for_markdown
from dipddpm.measure.files import write_text
from dipddpm.measure.record import Record, Run
from dipddpm.report.splits import splits_words
from dipddpm.report.words import words

NAME, RECORDS = "REPRODUCE.md", "run.json.gz"


def write(run: Run, written: Iterable[Path], folder: Path) -> Path:
    """Write ``REPRODUCE.md`` beside the files of a report; its path.

    Args:
        written: files of the report in ``folder``, of which it gives the checksums.
    """
    write_text(folder / NAME, reproduce(run, {path.relative_to(folder).as_posix(): checksum(path) for path in written}))
    return folder / NAME


def reproduce(run: Run, checksums: dict[str, str]) -> str:
    """The page as Markdown.

    Args:
        checksums: {file of the report: SHA-256}.
    """
    inputs = {
        words(name): str(value) for name, value in run.settings.items() if name not in ("profile", "device")
    } | {"splits": splits_words(run)}  # fmt: skip
    said = [
        "# Reproduce this report",
        "Install, run, draw. Nothing is downloaded but packages.",
        "```sh\nmake .venv/installed && . .venv/bin/activate\n"
        f"{command(run)}\n"
        f"gunzip --keep {RECORDS}  # the raw values of the run that is published here\n"
        f"dipddpm report {Path(RECORDS).stem} --out again  # its tables and figures, from those values alone\n```",
        f"The records hold {_hours(run)} of computation, as charged. What no record is charged for comes on top: "
        "settings are tuned on validation images, and results that several records share are computed once.",
        "## What has to agree",
        _table("input", "this run", {k: v for k, v in inputs.items() if v}),
        f"The machine: {', '.join(_machine(run))}.",
        "With the same kind of CPU, the same number of threads and the same torch, quality repeats bit for bit. "
        "Elsewhere roundings differ, and a fit of hundreds of updates makes more of them than anything else: "
        "`dipddpm compare` with the baseline of this profile holds a run to tolerances that say so. Seconds are "
        "those of the machine.",
        "## The suites that made it",
        "The hash of the code of each suite, without comments, layout and what it imports. A run of other suites "
        "says so when it is compared.",
        _table("suite", "SHA-256, abridged", dict(sorted(run.origins.items()))),
        "## Checksums",
        "```\n" + "\n".join(f"{found}  {name}" for name, found in sorted(checksums.items())) + "\n```",
    ]
    return "\n\n".join(said) + "\n"


def command(run: Run) -> str:
    """What runs a whole run again."""
    seed = re.match(r"\d+", str(run.settings.get("seeds", "")))  # of several, the first: the profile has their number
    return shlex.join(["pytest", "bench", *options(run, int(seed.group()) if seed else 0)])


def options(run: Run, seed: int) -> list[str]:
    """The options of a command that runs some of it again, at the same profile, on the same data."""
    name, *axes = str(run.settings.get("profile", "quick")).split() or ["quick"]
    parts = ["--profile", name, *(part for axis in axes for part in ("--axis", axis))]
    data, denoiser = (re.split("[, ]", str(run.settings.get(name, "")))[0] for name in ("data", "denoiser"))
    parts += ["--dataset", data] if data not in ("", "photo-patches") else []
    parts += ["--denoiser", denoiser] if denoiser not in ("", "unet") else []
    return parts + (["--seed", str(seed)] if seed else [])


def _hours(run: Run) -> str:
    seconds = sum(map(_seconds, run.records))
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(1, round(seconds / 60))} minutes"


def _seconds(record: Record) -> float:
    """Of all images of a record."""
    return record.cost * max((len(measure.values) for measure in record.measures.values()), default=1)


def _machine(run: Run) -> list[str]:
    names = ("gpu", "cpu", "threads", "torch", "blas", "python", "system")
    return [f"{words(name)} {run.machine[name]}" for name in names if run.machine.get(name)]


def _table(left: str, right: str, rows: dict[str, str]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    return "\n".join(lines + [f"| {for_markdown(k)} | {for_markdown(str(v))} |" for k, v in rows.items()])
