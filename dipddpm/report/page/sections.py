"""What the page shows, section by section, as plain data for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dipddpm.measure.record import Record, Run
from dipddpm.report import populations, training_tables
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import Contrast, Sample, fill_intervals
from dipddpm.report.growth import growths
from dipddpm.report.markdown import reading
from dipddpm.report.metric_names import metric_name
from dipddpm.report.page import curves, fronts, others
from dipddpm.report.page.boards import Board, boards
from dipddpm.report.page.facts import limits, machine
from dipddpm.report.page.forest import ROLES, forest
from dipddpm.report.page.pictures import Gallery, galleries
from dipddpm.report.page.vega import Chart
from dipddpm.report.population_contrasts import cannot_tell
from dipddpm.report.sentence import break_even_words, claim, contrast_words, open_words, seconds
from dipddpm.report.splits import splits_words
from dipddpm.report.tables import duration_frame, levels_frame, stage_frame
from dipddpm.report.training_curves import curves as training_curves
from dipddpm.report.training_curves import levels as training_levels
from dipddpm.report.verdict import DOES_NOT_PAY, PAYS, Verdict, standing, verdict
from dipddpm.report.words import architecture, words

MAIN = "restoration"  # the suite whose samples the charts of a task show


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, title: str, made: pd.DataFrame) -> Table:
        """A frame as a table."""
        return cls(title, [str(c) for c in made.columns], made.astype(object).fillna("").map(str).to_numpy().tolist())


@dataclass(frozen=True)
class Judged:
    """What one judge says: the treatment that it tested, its contrasts in words, and their forest plot."""

    name: str
    arm: str
    lower: bool
    candidates: int
    contrasts: Sequence[tuple[str, str, str]]
    chart: Chart | None


@dataclass(frozen=True)
class Answer:
    """The verdict of a task; ``tone`` is ``won``, ``lost`` or ``undecided``."""

    claim: str
    tone: str
    count: str
    judged: Sequence[Judged] = ()
    even: str = ""
    open: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A task, a set of populations or a set of training runs."""

    name: str
    slug: str
    answer: Answer | None = None
    said: Sequence[str] = field(default_factory=list)
    boards: Sequence[Board] = field(default_factory=list)
    charts: Sequence[Chart] = field(default_factory=list)
    pairs: Sequence[Chart] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)
    matrix: Table | None = None
    gallery: Gallery | None = None


@dataclass(frozen=True)
class Page:
    """All that the template is given."""

    run: Run
    tasks: Sequence[Section]
    more: Sequence[Section]
    populations: Sequence[Section]
    trainings: Sequence[Section]
    stages: Sequence[Section]
    machine: dict[str, str]
    limits: Sequence[str]
    reading: Sequence[str] = field(default_factory=list)
    splits: str = ""


def page(comparisons: Comparisons, table: pd.DataFrame, figures: Sequence[Path]) -> Page:
    """Everything that a run has the data for."""
    run = comparisons.run
    shown = galleries(figures)
    groups = list(dict.fromkeys(s.record.group for s in comparisons.samples))
    verdicts = {
        g: verdict(comparisons, g) for g in groups if any(comparisons.candidates(g, judge) for judge in run.judges)
    }
    tasks = [_task(comparisons, g, table, verdicts, shown.get(g)) for g in groups]
    stages = [r for r in run.records if r.role == "stage"]
    return Page(
        run,
        [task for g, task in zip(groups, tasks, strict=True) if g in verdicts],
        [task for g, task in zip(groups, tasks, strict=True) if g not in verdicts],
        _populations(run), _trainings(run),
        [_stages(stages, suite, comparisons) for suite in dict.fromkeys(r.suite for r in stages)],
        machine(run), limits(comparisons, verdicts), reading(run), splits_words(run),
    )  # fmt: skip


def _stages(records: Sequence[Record], suite: str, comparisons: Comparisons) -> Section:
    records = [r for r in records if r.suite == suite]
    times = Table.of("Times, counts and memory", stage_frame(records, comparisons.paces))
    return Section(suite, "", tables=[times], pairs=others.growth(growths(records)))


def _task(
    comparisons: Comparisons, group: str, table: pd.DataFrame, verdicts: Mapping[str, Verdict | None],
    gallery: Gallery | None,
) -> Section:  # fmt: skip
    run = comparisons.run
    every = [
        s for s in comparisons.in_group(group) if run.primary in s.values and np.isfinite(s.values[run.primary]).all()
    ]
    seen = [s for s in every if s.record.seen_by(run.primary)]
    fill_intervals(every, run.primary)
    main, primary = [s for s in seen if s.record.suite == MAIN], run.primary
    charts: list[Chart | None] = []
    pairs: list[Chart] = []
    if main:
        charts = [
            curves.against_budget(group, main, primary, comparisons.tested(group, primary), run.comparator),
            fronts.against_seconds(group, main, primary),
        ]
        pairs = curves.against_duration(group, main, primary)
        if len(run.judges) > 1:
            charts.append(fronts.plane(group, [s for s in every if s.record.suite == MAIN], *run.judges[:2]))
        charts.append(others.cost_by_stage(group, comparisons.board(group, primary).rows, run.stages, primary))
    entered = [s for s in seen if s.record.suite == "t0 by budget"]
    if entered:
        charts += curves.over_entry_step(group, entered, primary)
    tables = []
    if not table.empty:
        table = table[(table["group"] == group) & (table["judge"] == primary) & (table["leak"] == "none")]
    if not table.empty:  # cells of a few suites alone are in no leaderboard
        tables.append(
            Table.of(
                f"Images that reach a level of {metric_name(primary)}, and what it took the median one",
                levels_frame(table, run),
            )
        )
        if not (durations := duration_frame(comparisons, group)).empty:
            tables.append(Table.of(f"{metric_name(primary)} by duration, the DIP alone → with diffusion", durations))
    answer = _answer(verdicts[group], group, run) if group in verdicts else None
    slug = f"task-{list(dict.fromkeys(s.record.group for s in comparisons.samples)).index(group)}"
    return Section(
        words(group), slug, answer, [], boards(comparisons, group), [c for c in charts if c], pairs, tables,
        _matrix(comparisons.chosen(group, primary), primary), gallery,
    )  # fmt: skip


def _answer(found: Verdict | None, group: str, run: Run) -> Answer:
    text = claim(found).replace("**", "")
    if found is None:
        return Answer(text, "undecided", "")
    images = len(found.tested[0].treatment.record.items)
    count = f"{found.n} photographs" + (f", {images} images" if images != found.n else "")
    tone = "won" if found.outcome.startswith(PAYS) else "lost" if found.outcome == DOES_NOT_PAY else "undecided"
    judged = [
        Judged(
            metric_name(t.judge), _named(t.treatment), t.treatment.sign(t.judge) < 0, t.candidates,
            [_contrast(role, c, found) for role, c in t.contrasts.items()], forest(words(group), t),
        )
        for t in found.tested
    ]  # fmt: skip
    return Answer(
        text, tone, count, judged, break_even_words(found, run), [text.replace("**", "") for text in open_words(found)]
    )


def _named(sample: Sample) -> str:
    record = sample.record
    nfe = f", {record.budget} NFE" if record.budget else ""
    return f"{words(record.arm)}{nfe}, {seconds(sample.cost)} per image"


def _contrast(role: str, contrast: Contrast | None, found: Verdict) -> tuple[str, str, str]:
    """The rival, the contrast in words, and how it stands."""
    if contrast is None:
        return ROLES[role], "none was run", "undecided"
    return ROLES[role], contrast_words(contrast, found), standing(contrast)


def _matrix(chosen: Sequence[Sample], metric: str) -> Table | None:
    """Architectures by ways of fitting: the DIP alone → with diffusion, each at its best duration by validation. None
    where there is one of either."""
    cells: dict[tuple[str, str], dict[str, Sample]] = {}
    for s in chosen:
        way = str(s.record.axes.get("way") or "")
        if s.record.role in ("treatment", "part") and architecture(s) and way and s.record.leak == "none":
            best = cells.setdefault((architecture(s), way), {})
            old = best.get(s.record.role)
            if old is None or s.validated(metric) > old.validated(metric):
                best[s.record.role] = s
    rows, ways = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    if len(rows) < 2 or len(ways) < 2:
        return None

    def shown(name: str, way: str) -> str:
        best = cells.get((name, way), {})
        texts = [f"{best[role].mean(metric):.4g}" if role in best else "none" for role in ("part", "treatment")]
        return " → ".join(texts) if best else ""

    made = [[words(way), *(shown(name, way) for name in rows)] for way in ways]
    return Table(f"{metric_name(metric)} of ways of fitting by architectures", ["way", *map(words, rows)], made)


def _populations(run: Run) -> list[Section]:
    made = []
    for i, members in enumerate(populations.groups(run)):
        first, suffix = members[0].first, populations.common_suffix(members)
        titles = list(dict.fromkeys(title for p in members for title in p.measures if title.endswith(suffix)))
        why = populations.not_judged(members)
        charts = [] if why else [c for title in titles if (c := others.populations(members, title))]
        said = [why] if why else cannot_tell(members, run, suffix)
        tables = [] if why else [Table.of("Every population", populations.table_of(members, suffix))]
        made.append(
            Section(f"{words(first.group)}: {first.suite}", f"population-{i}", said=said, pairs=charts, tables=tables)
        )
    return made


def _trainings(run: Run) -> list[Section]:
    made, reached = [], training_levels(run)
    for i, (group, members) in enumerate(training_curves(run).items()):
        tables = [Table.of("Quality by updates, and the state at the end", training_tables.curve_frame(members, run))]
        mine = reached[reached["group"] == group]
        if not mine.empty:
            tables.append(Table.of("Updates and seconds to a level", training_tables.level_frame(mine)))
        said = [text.replace("**", "") for text in training_tables.findings(members, run)]
        made.append(
            Section(
                words(group), f"training-{i}", said=said, charts=[others.training(group, members, run)], tables=tables
            )
        )
    return made
