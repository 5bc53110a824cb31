"""The leaderboards of the page: what each row shows, and what it tells of itself when it is opened."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.record import Record, Run
from dipddpm.measure.statistics import Estimate
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import Contrast, Sample
from dipddpm.report.metric_names import metric_name
from dipddpm.report.reproduce import options
from dipddpm.report.sentence import difference, digits, seconds
from dipddpm.report.words import ROLE_WORDS, words

RIVALS = {
    "control": "best control at no more cost",
    "part": "best DIP alone at no more cost",
    "comparator": "noise at as many evaluations",
}


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number that it is sorted by."""

    text: str
    order: float | str


@dataclass(frozen=True)
class Row:
    """An arm at the budget that a judge chose for it.

    Attributes:
        cells: in the order of the board's headings, after rank, arm and role.
        details: {what: text}, shown when the row is opened.
        command: what runs it again; key: its name in a baseline.
    """

    rank: Cell
    arm: str
    role: str
    label: str
    tested: bool
    learned: bool
    cells: Sequence[Cell]
    details: dict[str, str]
    command: str
    key: str


@dataclass(frozen=True)
class Board:
    """The leaderboard of one judge, or of the rows that saw the photograph."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Row]
    open: bool


def boards(comparisons: Comparisons, group: str) -> list[Board]:
    """One board for each judge, the first one open, and one of the rows that leak."""
    run, made = comparisons.run, []
    for judge in run.judges:
        if (found := comparisons.board(group, judge)).rows:
            tested = comparisons.tested(group, judge)
            rows = [
                _row(
                    sample,
                    judge,
                    value,
                    rank,
                    run,
                    found.contrasts.get(sample, {}),
                    bool(tested and tested.treatment is sample),
                )
                for sample, value, rank in zip(found.rows, found.values, found.ranks, strict=True)
            ]
            title = f"Chosen by {metric_name(judge)}: {len(rows)} arms"
            made.append(Board(title, "", _headings(found.rows[0], run, judge), rows, judge == run.primary))
    if (leaking := comparisons.board(group, run.primary, leaking=True)).rows:
        pairs = zip(leaking.rows, leaking.values, strict=True)
        rows = [_row(sample, run.primary, value, 0, run, {}, False) for sample, value in pairs]
        note = "What the same procedure makes of the photograph itself. No claim rests on these rows."
        headings = _headings(leaking.rows[0], run, run.primary)
        made.append(Board(f"Rows that saw the photograph: {len(rows)}", note, headings, rows, False))
    return made


def _judges(run: Run, judge: str, sample: Sample) -> list[str]:
    return [m for m in (judge, *(other for other in run.judges if other != judge)) if m in sample.values]


def _headings(sample: Sample, run: Run, judge: str) -> list[str]:
    made = ["NFE"]
    for metric in _judges(run, judge, sample):
        measure = sample.record.measures[metric]
        arrow = "↑" if measure.higher_is_better else "↓"
        made += [f"{metric_name(metric)}{f' {measure.unit}' if measure.unit else ''} {arrow}"]
        made += ["95 % interval"] if metric == judge else []
    return [*made, "s / image"]


def _row(
    sample: Sample,
    judge: str,
    value: Estimate,
    rank: int | None,
    run: Run,
    contrasts: Mapping[str, Contrast | None],
    tested: bool,
) -> Row:
    record = sample.record
    drawn = int(str(record.axes.get("samples") or 1))
    nfe = f"{drawn} x {record.budget // drawn}" if drawn > 1 else str(record.budget)
    cells = [Cell(nfe, record.budget)]
    for metric in _judges(run, judge, sample):
        form, mean = digits(record.measures[metric].unit), sample.mean(metric)
        cells.append(Cell(f"{mean:{form}}", mean if math.isfinite(mean) else ""))
        if metric == judge:
            known = math.isfinite(value.low) and math.isfinite(value.high)
            cells.append(
                Cell(f"{value.low:{form}} to {value.high:{form}}" if known else "", value.low if known else "")
            )
    cells.append(Cell(seconds(sample.cost), sample.cost))
    details = {"setting": str(record.axes.get("setting") or "")}
    details["cost"] = " + ".join(f"{words(stage)} {seconds(s)}" for stage, s in sample.seconds.items() if s > 0)
    if record.training_seconds:
        details["trained once for"] = seconds(record.training_seconds)
    details["on the edge of its grid"] = "; ".join(record.edges)
    for role, contrast in contrasts.items():
        if contrast:
            details[f"against the {RIVALS[role]}"] = (
                f"{words(contrast.rival.record.arm)}: {difference(contrast)}, p = {contrast.difference.p:.2g}"
            )
    details["seeds"] = ", ".join(f"{name} {value}" for name, value in record.seeds.items())
    return Row(
        Cell("diverged" if sample.diverged else str(rank or ""), rank or ""),
        words(record.arm),
        record.role,
        ROLE_WORDS.get(record.role, record.role),
        tested,
        bool(record.training_seconds),
        cells,
        {what: text for what, text in details.items() if text},
        command(record, run),
        key_of(record, judge if judge in record.judges else ""),
    )


def command(record: Record, run: Run) -> str:
    """What runs a record again: its suite, at the profile, on the data and with the seed of the run."""
    suite = f"bench/{record.origin}.py" if record.origin else "bench"
    parts = ["pytest", suite, *options(run, record.repeat)]
    if task := re.match(r"\w+", record.group):
        parts += ["-k", task.group()]
    return shlex.join(parts)
