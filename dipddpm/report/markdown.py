"""The report of a run: Markdown for people, CSV in full precision for machines, and text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from dipddpm.measure.escape import csv_of, for_markdown, visible
from dipddpm.measure.files import write_text
from dipddpm.measure.record import Run
from dipddpm.report import pace_table, populations, training_tables
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.escape import with_names
from dipddpm.report.file_names import file_name
from dipddpm.report.leaderboard import frame
from dipddpm.report.metric_names import metric_name
from dipddpm.report.picture_sheet import PREFIX
from dipddpm.report.sentence import sentence
from dipddpm.report.splits import splits_words
from dipddpm.report.tables import (
    duration_frame,
    leaderboard_table,
    levels_frame,
    pipes,
    stage_frame,
    text,
    verdict_frame,
)
from dipddpm.report.verdict import LEAST_CLUSTERS, verdict

TOP = 10  # rows that a reader sees of a task


def write(
    run: Run, table: pd.DataFrame, folder: Path, figures: Sequence[Path] = (), comparisons: Comparisons | None = None
) -> tuple[Path, ...]:
    """Write the report into a folder.

    ``leaderboard.md`` and ``leaderboard.csv`` are always written, ``paces.csv`` where work is charged by its pace,
    ``populations.csv`` where images were generated, and ``training.csv`` and ``training-levels.csv`` where networks
    were trained.

    Args:
        table: ``frame(run)``.
        figures: to be linked; paths within ``folder``.
        comparisons: of the run, if the table was made with them: what was computed once is not computed again.

    Returns:
        the paths of what was written.
    """
    markdown_file, csv_file = folder / "leaderboard.md", folder / "leaderboard.csv"
    links = [figure.relative_to(folder) for figure in figures]
    write_text(markdown_file, markdown(run, table, links, comparisons))
    write_text(csv_file, csv_of(table))
    beside = (*pace_table.write(run, folder), *populations.write(run, folder), *training_tables.write(run, folder))
    return markdown_file, csv_file, *beside


def markdown(
    run: Run, table: pd.DataFrame, figures: Sequence[Path] = (), comparisons: Comparisons | None = None
) -> str:  # fmt: skip
    """The report as Markdown. Arguments as in :func:`write`, the paths of figures as they are to be linked."""
    said, (run, table, comparisons) = failures(run), _named(run, table, comparisons, for_markdown)
    figures = [figure for figure in figures if not figure.stem.startswith(PREFIX)]
    parts = [f"# {run.title}", _settings(run), *said, *_verdicts(comparisons), _how_to_read(run)]
    generated, trained = populations.sections(run), training_tables.sections(run, figures)
    stages = [r for r in run.records if r.role == "stage"]
    if table.empty and not generated and not trained and not stages:
        parts.append("No arms were run.")
    for group in _groups(table):
        parts += _group_section(comparisons, group, table[table["group"] == group])
        parts += _links(figure for figure in figures if figure.stem.endswith(f"-{file_name(group)}"))
    parts += generated + trained
    for suite in dict.fromkeys(r.suite for r in stages):
        shown = pipes(stage_frame([r for r in stages if r.suite == suite], comparisons.paces), keys=2)
        parts += [f"## {suite}", *_folded("Times, counts and memory", shown)]
        parts += _links(figure for figure in figures if figure.stem == suite)
    return "\n\n".join([*parts, *pace_table.sections(run)]) + "\n"


def _named(
    run: Run, table: pd.DataFrame, comparisons: Comparisons | None, escape: Callable[[str], str]
) -> tuple[Run, pd.DataFrame, Comparisons]:
    """All three with names that are harmless where they are shown; what was computed stays where no name is changed."""
    named = with_names(run, escape)
    if named is run:
        return run, table, comparisons or Comparisons(run)
    comparisons = Comparisons(named)
    return named, frame(named, comparisons), comparisons


def failures(run: Run) -> list[str]:
    """The cells that failed, each with its reason, and those of which images diverged; nothing where there are none."""
    parts = []
    if run.failures:
        # What an exception says is anybody's text: nothing of it may be read as Markdown or HTML.
        rows = [f"- {_literal(cell)}: {_literal(why)}" for cell, why in run.failures.items()]
        parts += ["## Cells that failed", "\n".join(rows)]
    if lost := [record for record in run.records if record.diverged]:
        named = [(_literal(f"{r.group}: {r.arm} at {r.budget} (seed {r.repeat})"), r) for r in lost]
        rows = [f"- {name}: {r.diverged} of {len(r.items)} images" for name, r in named]
        parts += ["## Cells of which images diverged", "\n".join(rows)]
    return parts


def _literal(text: str) -> str:
    """Any text as one piece of code in Markdown: a fence that is longer than what it holds, all in one line."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def terminal(run: Run, table: pd.DataFrame, comparisons: Comparisons | None = None) -> str:
    """The report for a terminal: the columns that fit, and the verdicts. Arguments as in :func:`write`."""
    run, table, comparisons = _named(run, table, comparisons, visible)
    generated, trained = populations.brief(run), training_tables.brief(run)
    if table.empty and not generated and not trained:
        stages = [r for r in run.records if r.role == "stage"]
        return text(stage_frame(stages), "simple") if stages else "No arms were run."
    comparisons = comparisons or Comparisons(run)
    parts = []
    for group in _groups(table):
        rows = table[table["group"] == group]
        first = rows[rows["judge"] == run.primary]
        parts.append(f"{group}\n\n{leaderboard_table(first, run, run.primary, 'simple')}")
        if _has_verdict(rows):
            parts.append(sentence(verdict(comparisons, group), run).replace("**", ""))
    return "\n\n".join([*parts, *generated, *trained])


def _groups(table: pd.DataFrame) -> list[str]:
    return [] if table.empty else list(table["group"].unique())


def _has_verdict(rows: pd.DataFrame) -> bool:
    return bool(((rows["leak"] == "none") & (rows["role"] == "treatment")).any())


def _links(figures: Iterable[Path]) -> list[str]:
    return [f"![{figure.stem}]({figure.as_posix()})" for figure in figures]


def _verdicts(comparisons: Comparisons) -> list[str]:
    """The table that a reader sees first; nothing without a treatment."""
    shown = verdict_frame(comparisons)
    return [] if shown.empty else [pipes(shown)]


def _group_section(comparisons: Comparisons, group: str, rows: pd.DataFrame) -> list[str]:
    """Verdict and best rows of one group; all else is folded. Arms with a leak have a table of their own."""
    run, parts = comparisons.run, [f"## {group}"]
    honest, leaking = rows[rows["leak"] == "none"], rows[rows["leak"] != "none"]
    if not honest.empty:
        if _has_verdict(rows):
            parts.append(sentence(verdict(comparisons, group), run))
        for judge in run.judges:
            if not (mine := honest[honest["judge"] == judge]).empty:
                whole = leaderboard_table(mine, run, judge)
                if judge == run.primary:
                    of = f"The best {TOP} of {len(mine)} arms" if len(mine) > TOP else "All arms"
                    parts += [f"{of}, chosen by {metric_name(judge)}:"]
                    parts += [leaderboard_table(mine[:TOP], run, judge, brief=True)]
                parts += _folded(f"All {len(mine)} arms with their settings, chosen by {metric_name(judge)}", whole)
        if not (first := honest[honest["judge"] == run.primary]).empty:
            said = f"Images that reach a level of {metric_name(run.primary)}, and what it took the median one"
            parts += _folded(said, pipes(levels_frame(first, run)))
        if not (durations := duration_frame(comparisons, group)).empty:
            said = f"{metric_name(run.primary)} by duration of the first stage (iterations), alone → with the second"
            parts += _folded(said, pipes(durations))
    if not leaking.empty:
        judge = leaking["judge"].iloc[0]
        parts += _folded(
            "Rows that saw the photograph",
            "What the same procedure makes of it. No claim rests on them, and another procedure may do better without.",
            leaderboard_table(leaking[leaking["judge"] == judge], run, judge),
        )
    return parts


def _folded(summary: str, *parts: str) -> list[str]:
    """Parts that a reader opens."""
    return [f"<details>\n<summary>{summary}</summary>", *parts, "</details>"]


def _settings(run: Run) -> str:
    """What was run, and on which machine."""
    lines = [f"- {name}: {value}" for name, value in run.settings.items()]
    if said := splits_words(run):
        lines.append(f"- splits: {said}")
    m = run.machine
    lines.append(f"- machine: {m['gpu'] or m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}")
    if run.selected:
        lines.append(f"- **not the whole of the suites: {run.selected}**")
    if run.failed:
        lines.append(f"- **{run.failed} cells failed and are missing below: see why under this list**")
    if run.diverged:
        lines.append(
            f"- **images of {run.diverged} cells diverged: those cells have no rank and compete with nothing**"
        )
    return "\n".join(lines)


def _how_to_read(run: Run) -> str:
    return "\n\n".join(_folded("How to read the tables", "\n".join(f"- {line}" for line in reading(run))))


def reading(run: Run) -> list[str]:
    """How the tables are read, one sentence or two for each thing, as Markdown."""
    judges = " and ".join(metric_name(judge) for judge in run.judges)
    return [
        f"One table per judge ({judges}): one row per arm, at the budget and in the setting that did best by that "
        "judge on the validation images. NFE: network evaluations per image, 5 x 30 is the mean of 5 samples of 30 "
        "each; every budget is an independent run. Seconds per image, all stages: counted work (passes of a DIP, "
        f"evaluations, calls of a control) times {pace_table.charged_by(run)}.",
        "What is resampled is the photograph: means are over photographs, intervals are 95 % and, in a table, hold "
        "for all of its rows together: Student's t below 30 photographs, a bootstrap from 30 on. Arms that noise may "
        "have put in order share a rank: # is one more than how many arms are better beyond noise.",
        "**Bold**: the treatment that the verdict tests, the best on validation images. Its two rivals are the best "
        "uses of no more than its cost, by the same scores. *Pays*: both are beaten under every judge, each at p < "
        "0.05. *Does not pay*: under every judge one of them wins, at p < 0.025. *Pays in ... alone*: both are beaten "
        f"under that judge, and neither wins under the other. Below {LEAST_CLUSTERS} photographs there is no verdict.",
        "Not reached is not dropped: the median is over all images, and stands only where at least half reached. "
        "Its seconds: what the first budget that reached it cost, DIP fit included.",
        f"*{run.comparator}-{run.margin:g}*: {run.margin:g} less than {run.comparator} reaches at the largest budget "
        "that all arms have. Arms, settings and the rule are explained in docs/protocol.md.",
    ]
