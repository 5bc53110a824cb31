"""The report of a run: Markdown for people, CSV in full precision for machines, and text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Run
from dipddpm.report import populations, training_tables
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.tables import brief_leaderboard, duration_table, leaderboard_table, stage_table
from dipddpm.report.verdict import sentence, verdict


def write(
    run: Run, table: pd.DataFrame, folder: Path, figures: Sequence[Path] = (), comparisons: Comparisons | None = None
) -> tuple[Path, ...]:
    """Write the report into a folder.

    ``leaderboard.md`` and ``leaderboard.csv`` are always written, ``populations.csv`` where images were generated, and
    ``training.csv`` and ``training-levels.csv`` where networks were trained.

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
    write_text(csv_file, table.to_csv(index=False))
    return markdown_file, csv_file, *populations.write(run.records, folder), *training_tables.write(run, folder)


def markdown(
    run: Run, table: pd.DataFrame, figures: Sequence[Path] = (), comparisons: Comparisons | None = None
) -> str:  # fmt: skip
    """The report as Markdown. Arguments as in :func:`write`, the paths of figures as they are to be linked."""
    comparisons = comparisons or Comparisons(run)
    parts = [f"# {run.title}", _preamble(run)]
    generated, trained = populations.sections(run), training_tables.sections(run, figures)
    stages = [r for r in run.records if r.role == "stage"]
    if table.empty and not generated and not trained and not stages:
        parts.append("No arms were run.")
    for group in _groups(table):
        parts += _group_section(comparisons, group, table[table["group"] == group])
        parts += _links(figure for figure in figures if figure.stem.endswith(f"-{group}"))
    parts += generated + trained
    for suite in dict.fromkeys(r.suite for r in stages):
        parts += [f"## {suite}", stage_table([r for r in stages if r.suite == suite])]
        parts += _links(figure for figure in figures if figure.stem == suite)
    return "\n\n".join(parts) + "\n"


def terminal(run: Run, table: pd.DataFrame, comparisons: Comparisons | None = None) -> str:
    """The report for a terminal: the columns that fit, and the verdicts. Arguments as in :func:`write`."""
    generated, trained = populations.brief(run), training_tables.brief(run)
    if table.empty and not generated and not trained:
        stages = [r for r in run.records if r.role == "stage"]
        return stage_table(stages, "simple") if stages else "No arms were run."
    comparisons = comparisons or Comparisons(run)
    parts = []
    for group in _groups(table):
        rows = table[table["group"] == group]
        parts.append(f"{group}\n\n{brief_leaderboard(rows, run)}")
        if _has_verdict(rows):
            parts.append(sentence(verdict(comparisons, group), run).replace("**", ""))
    return "\n\n".join([*parts, *generated, *trained])


def _groups(table: pd.DataFrame) -> list[str]:
    return [] if table.empty else list(table["group"].unique())


def _has_verdict(rows: pd.DataFrame) -> bool:
    return bool(((rows["leak"] == "none") & (rows["role"] == "treatment")).any())


def _links(figures: Iterable[Path]) -> list[str]:
    return [f"![{figure.stem}]({figure.as_posix()})" for figure in figures]


def _group_section(comparisons: Comparisons, group: str, rows: pd.DataFrame) -> list[str]:
    """Verdict and tables of one group; arms with a leak have a table of their own."""
    run, parts = comparisons.run, [f"## {group}"]
    honest, leaking = rows[rows["leak"] == "none"], rows[rows["leak"] != "none"]
    if not honest.empty:
        if _has_verdict(rows):
            parts.append(sentence(verdict(comparisons, group), run))
        parts.append(leaderboard_table(honest, run))
        if durations := duration_table(comparisons, group):
            parts += [f"{run.primary.upper()} by duration of the first stage, alone → with the second:", durations]
    if not leaking.empty:
        parts += [
            "Rows that saw the photograph: what the same procedure makes of it. No claim rests on them, and another "
            "procedure may do better without.",
            leaderboard_table(leaking, run),
        ]
    return parts


def _preamble(run: Run) -> str:
    """What was run, on which machine, and how to read the tables."""
    lines = [f"- {name}: {value}" for name, value in run.settings.items()]
    m = run.machine
    lines.append(f"- machine: {m['gpu'] or m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}")
    if run.selected:
        lines.append(f"- **not the whole of the suites: {run.selected}**")
    if run.failed:
        lines.append(f"- **{run.failed} cells failed and are missing below**")
    lines += [
        "- One row per arm, at the budget and setting that did best on the validation images. NFE: network evaluations "
        "per image; every budget is an independent run. Seconds per image: DIP fit and diffusion together, measured in "
        "the run that gave the quality.",
        "- Intervals: 95 %, BCa bootstrap over images (and repeats), paired for differences. *Best cheap control*: no "
        "DIP, costs no more, best on the validation images. *Prior alone*: the same DIP without diffusion, of all "
        "durations and outputs that cost no more the best on the validation images.",
        "- Not reached is not dropped: medians are over all images, and stand only where at least half reached. "
        "Seconds to a level: what the first budget that reached it cost, DIP fit included.",
        f"- *{run.comparator}-{run.margin:g}*: {run.margin:g} less than {run.comparator} reaches at the largest budget "
        "that all arms have. Arms and settings are explained in bench/PROTOCOL.md.",
        "- PSNR rewards blur. Perceptual distance over a population is not part of this table.",
    ]
    return "\n".join(lines)
