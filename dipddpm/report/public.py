"""The public table: what submissions of one board say, version by version and machine by machine.

All numbers are those that the submissions quote. That they agree with the records was checked before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from dipddpm.measure.escape import csv_of, for_markdown
from dipddpm.measure.files import write_text
from dipddpm.measure.gate.merge import Board, Member
from dipddpm.measure.gate.outcomes import Comparison
from dipddpm.measure.record import Run
from dipddpm.report import columns
from dipddpm.report.metric_names import metric_name
from dipddpm.report.sentence import digits, seconds
from dipddpm.report.tables import text
from dipddpm.report.words import words

TOP = 10  # arms that a reader sees of a task
MARKDOWN, CSV = "README.md", "results.csv"
AGAINST = "the first row against this one"
TITLE = "Submitted runs"
INTRODUCTION = (
    "Each board holds runs of one profile on one set of data with one denoiser, so that all of them restored the same "
    "photographs from the same observations. A verdict is that of the run alone; the interval of a difference is 95 %, "
    "over photographs. Seconds are those of the machine that is named beside them."
)


@dataclass(frozen=True)
class Task:
    """What a board says of one task: the tested contrasts of every submission, and its arms."""

    name: str
    contrasts: pd.DataFrame
    arms: pd.DataFrame


@dataclass(frozen=True)
class PublicBoard:
    """A board as tables of texts: which submissions it has, the newest version first, and its tasks."""

    title: str
    settings: Mapping[str, str]
    history: pd.DataFrame
    tasks: Sequence[Task]


def public_boards(boards: Sequence[Board]) -> list[PublicBoard]:
    """The boards as a reader sees them."""
    return [_public(board) for board in boards]


def write(boards: Sequence[Board], refused: Mapping[Path, str], folder: Path) -> list[Path]:
    """Write the table as Markdown, as CSV with its data dictionary, and as a page; the paths."""
    from dipddpm.report.page.public import write_page  # imported here: only a page needs jinja2

    shown, table = public_boards(boards), frame(boards)
    write_text(folder / MARKDOWN, markdown(shown, refused))
    write_text(folder / CSV, csv_of(table))
    made = [folder / MARKDOWN, folder / CSV]
    return [*made, columns.write(made, folder), write_page(shown, refused, folder)]


def frame(boards: Sequence[Board]) -> pd.DataFrame:
    """One row for each submission, judge and arm, in full precision."""
    rows = []
    for board in boards:
        for member in board.members:
            one, run = member.submission, member.submission.run
            of = {
                "file": member.path.name, "version": one.version, "submitted": one.submitted, "by": one.by,
                "machine": machine(run), "profile": str(run.settings.get("profile", "")),
                "data": str(run.settings.get("data", "")),
            }  # fmt: skip
            rows += [of | row for row in one.quoted["rows"]]
    return pd.DataFrame(rows)


def markdown(boards: Sequence[PublicBoard], refused: Mapping[Path, str]) -> str:
    """The table as Markdown, every name harmless."""
    parts = [f"# {TITLE}", INTRODUCTION]
    for board in boards:
        settings = "\n".join(f"- {for_markdown(name)}: {for_markdown(value)}" for name, value in board.settings.items())
        parts += [f"## {for_markdown(board.title)}", settings, _pipes(board.history)]
        for task in board.tasks:
            parts += [f"### {for_markdown(task.name)}", _pipes(task.contrasts)]
            some = task.arms[:TOP]
            parts += [f"The best {len(some)} of {len(task.arms)} arms:", _pipes(some)]
    if refused:
        rows = [f"- {for_markdown(path.name)}: {for_markdown(why)}" for path, why in refused.items()]
        parts += ["## Not in a table", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _pipes(table: pd.DataFrame) -> str:
    return text(table.rename(columns=for_markdown).map(for_markdown))


def machine(run: Run) -> str:
    """What a run ran on, in a few words."""
    m = run.machine
    return str(m["gpu"]) if m.get("gpu") else f"{m.get('cpu', 'unknown')}, {m.get('threads', '?')} threads"


def _public(board: Board) -> PublicBoard:
    run = board.leading.run
    profile, data = (str(run.settings.get(name, "unnamed")) for name in ("profile", "data"))
    told = {name: str(value) for name, value in run.settings.items() if name not in ("profile", "device")}
    tasks = list(dict.fromkeys(group for m in board.members for group in m.submission.quoted["verdicts"]))
    return PublicBoard(
        f"{profile} on {data.partition(',')[0]}", told, _history(board, tasks),
        [Task(words(task), _contrasts(board, task), _arms(board, task)) for task in tasks],
    )  # fmt: skip


def _history(board: Board, tasks: Sequence[str]) -> pd.DataFrame:
    """Which submissions there are, what each says of every task, and what changed since."""
    rows = [
        {
            **_who(member), "submitted": member.submission.submitted, "by": member.submission.by,
            **{words(task): member.submission.quoted["verdicts"].get(task) or "no rival" for task in tasks},
            AGAINST: agreement(member.against),
        }
        for member in board.members
    ]  # fmt: skip
    made = pd.DataFrame(rows)
    return made.drop(columns=[name for name in ("by", AGAINST) if not made[name].any()])


def _who(member: Member) -> dict[str, str]:
    return {"version": member.submission.version, "machine": machine(member.submission.run)}


def agreement(found: Comparison | None) -> str:
    """How far the leading submission agrees with another one, as the gate counts it."""
    if found is None:
        return ""
    counts = [
        (len(found.of("holds")), "the same"),
        (len(found.of("improved")), "better since"),
        (len(found.of("regression")), "worse since"),
        (sum(len(found.of(outcome)) for outcome in ("incomparable", "inconclusive", "missing")), "not compared"),
    ]
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _contrasts(board: Board, task: str) -> pd.DataFrame:
    """The treatment that each judge of each submission tested, and how it did against its two rivals."""
    rows = []
    for member in board.members:
        run = member.submission.run
        for row in member.submission.quoted["rows"]:
            if row["group"] != task or not row["tested"]:
                continue
            unit, judge = _unit(run, row["judge"]), metric_name(row["judge"])
            rows.append({
                **_who(member), "judge": judge if _higher(run, row["judge"]) else f"{judge} ↓",
                "the DIP start that validation chose": f"{row['arm']}, {row['budget']} NFE, {seconds(row['seconds'])}",
                "its score": _number(row["mean"], unit),
                "against the best control": _difference(row, "control", unit),
                "against the best DIP alone": _difference(row, "part", unit),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _difference(row: Mapping, rival: str, unit: str) -> str:
    if row.get(f"{rival}_diff") is None:
        return "none was run"
    low, high = (_number(row[f"{rival}_{end}"], "", unit, signed=True) for end in ("low", "high"))
    return f"{_number(row[f'{rival}_diff'], unit, signed=True)} [{low}, {high}], {row[rival]}"


def _arms(board: Board, task: str) -> pd.DataFrame:
    """The arms of the newest version by the first judge: their scores over its submissions, and the fastest seconds."""
    run, newest = board.leading.run, board.leading.version
    judge, members = run.primary, [m for m in board.members if m.submission.version == newest]
    found: dict[str, list[tuple[Member, Mapping]]] = {}
    for member in members:
        for row in member.submission.quoted["rows"]:
            if (row["group"], row["judge"], row["leak"]) == (task, judge, "none") and row["mean"] is not None:
                found.setdefault(row["arm"], []).append((member, row))
    unit, sign = _unit(run, judge), -1 if _higher(run, judge) else 1
    rows = []
    for arm, each in sorted(found.items(), key=lambda item: sign * fmean(row["mean"] for _, row in item[1])):
        means = [row["mean"] for _, row in each]
        member, fastest = min(each, key=lambda pair: pair[1]["seconds"])
        shown = _number(fmean(means), "", unit)
        spread = f" ({_number(min(means), '', unit)} to {_number(max(means), '', unit)})" if len(means) > 1 else ""
        rows.append({
            "arm": arm, "part": fastest["role"], "NFE": str(fastest["budget"]),
            f"{metric_name(judge)}{f' {unit}' if unit else ''}": shown + spread, "runs": str(len(means)),
            "s / image": seconds(fastest["seconds"]), "on": machine(member.submission.run),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _number(value: float | None, unit: str, form_of: str = "", signed: bool = False) -> str:
    if value is None:
        return "unknown"
    form = digits(form_of or unit)
    return f"{value:{'+' if signed else ''}{form}}{f' {unit}' if unit else ''}"


def _unit(run: Run, metric: str) -> str:
    return next((r.measures[metric].unit for r in run.records if metric in r.measures), "")


def _higher(run: Run, metric: str) -> bool:
    return next((r.measures[metric].higher_is_better for r in run.records if metric in r.measures), True)
