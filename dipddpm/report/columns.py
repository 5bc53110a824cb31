"""What each column of the CSV files holds: the data dictionary of a report."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dipddpm.measure.escape import for_markdown
from dipddpm.measure.files import write_text

FILE = "columns.md"
# {pattern of a column: what it holds}; the first that fits the whole name counts.
MEANINGS = {
    "file": "name of the submission",
    "version": "of the program that made the run",
    "submitted": "day of the submission",
    "by": "whoever wants to be named",
    "machine": "GPU or CPU, and threads",
    "(profile|data)": "what was run: the {0}",
    "mean": "the metric of the judge, over photographs",
    "group": "task, or set of populations or training runs, within which arms compete",
    "judge": "metric by whose validation scores budget and setting of the row were chosen",
    "rank": "one more than how many arms are better beyond noise; empty for a row that diverged",
    "arm": "the competitor",
    "role": "treatment, control, part (a first stage alone), ablation or bound",
    "part": "part in the comparison of training runs: plain, treatment, control or prior",
    "leak": "none, or what the arm saw that it must not see",
    "budget|nfe": "network evaluations per image",
    "samples": "samples that the answer is a mean of; they share the budget",
    "setting": "the chosen setting in words",
    "edges": "what of the setting lies on the edge of the grid that it was chosen from",
    "n": "test images",
    "photographs": "photographs that the test images are cut from; these are resampled",
    "repeats": "repeats of the experiment, which differ in their seed",
    "repeat": "seed of the repeat",
    "diverged": "images that came out not finite",
    "training_seconds": "spent once, before the arm can run",
    "validation_(.+)": "mean of {0} over the validation images",
    "seconds": "seconds per image (of training runs: of the whole run so far), all stages",
    "measured_seconds_(.+)": "seconds per image of the stage {0} as this very cell took them",
    "seconds_(.+)": "seconds of the stage {0}, as charged",
    "units_per_second_(.+)": "steps per second of the stage {0}, per image",
    "units_(.+)": "counted work per image of {0}",
    "peak_memory_bytes(?:_(.+))?": "peak memory, in bytes added by the stage",
    "nfe_equivalent": "budget plus first-stage steps at their price in network evaluations",
    "images_per_second": "images per second, all stages",
    "tested": "whether the verdict tests this treatment",
    "(control|part|comparator)": "the rival by that role: best control, best first stage alone, noise at equal budget",
    "(control|part|comparator)_seconds": "seconds per image of that rival",
    "(control|part|comparator)_diff": "paired difference from that rival by the judge, row minus rival",
    "(control|part|comparator)_(low|high)": "end of the 95 % interval of that difference",
    "(control|part|comparator)_p": "two-sided p-value of that difference",
    "(control|part|comparator)_detectable": "effect that so many photographs show in 80 % of runs",
    "(.+)>=(.+) reached": "share of images for which {0} reaches {1} within the budgets",
    "(.+)>=(.+) median": "budget at which half of the images reach it; empty where fewer do",
    "(.+)>=(.+) restricted mean": "mean budget to reach it, the others censored at the largest budget: a lower bound",
    "(.+)>=(.+) median seconds": "seconds per image at which half of the images reach it",
    "stage|work|unit": "of a pace: the stage, the kind of work, and what one step of it is",
    "low|high": "end of the 95 % interval of the mean, or of the pace",
    "rounds": "rounds in which the pace was measured",
    "batch": "images in the batch that it was measured with",
    "steady": "whether the machine was steady while it was measured",
    "measured": "how: in turns, or as the median of single executions",
    "updates": "updates of the network so far",
    "level": "name of a level of the primary metric",
    "value": "that level",
    "above": "whether levels begin at the best prior alone",
    "reached": "share of the repeats that reached the level",
    "median (updates|seconds)": "{0} at which half of the repeats reached it",
    "restricted mean updates": "mean updates to reach it, the others censored at the end: a lower bound",
    "last (updates|seconds)": "{0} at the end of the run",
    "floor of (.+)": "what real images score in {0} against real images of other photographs",
    "(.+)_(low|high)": "end of the 95 % interval of {0}",
    "(.+)": "the metric {0}: mean over photographs, or value of a population",
}  # fmt: skip


def meaning(column: str) -> str:
    """What a column holds."""
    for pattern, text in MEANINGS.items():
        if found := re.fullmatch(pattern, column):
            return text.format(*(group or "" for group in found.groups()))
    raise ValueError(f"column {column!r}: no pattern fits")


def write(files: Iterable[Path], folder: Path) -> Path:
    """Write ``columns.md`` for CSV files; its path."""
    described = {file.name: _header(file) for file in files if file.suffix == ".csv"}
    path = folder / FILE
    write_text(path, dictionary(described))
    return path


def _header(file: Path) -> list[str]:
    """The columns of a CSV file; none of a table without rows, which has no columns either."""
    with file.open(encoding="utf-8", newline="") as text:
        return next(csv.reader(text), [])


def dictionary(columns: Mapping[str, Iterable[str]]) -> str:
    """Markdown: a table for each file."""
    parts = ["# Columns", "Numbers are in full precision; an empty cell is a number that does not exist."]
    for file, names in columns.items():
        if not (names := list(names)):
            continue
        rows = [f"| {for_markdown(name)} | {for_markdown(meaning(name))} |" for name in names]
        parts += [f"## {file}", "\n".join(["| column | what it holds |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"
