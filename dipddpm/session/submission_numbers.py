"""Whether the numbers of a run agree with each other: the checks of a submission that any version can make.

Each check looks for traces of a mistake or of an edit by hand, and says in one line which record it is and what
contradicts what. No check can see whether the raw values were ever measured: that takes another run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.record import UNPAIRED, Record, Run
from dipddpm.report.costs import Paces

RANGES = {"psnr": (-20.0, 100.0), "ssim": (-1.0, 1.0), "st_lpips": (0.0, 10.0)}
# On a shared machine the slowest single execution took 18 times as long as the pace measured in turns. Work that takes
# microseconds has no steady time at all.
FACTOR, SLACK = 30.0, 0.01
CLOSE = 1e-6


def contradictions(run: Run) -> Iterator[str]:
    """Every contradiction that is found, a line each."""
    for check in CHECKS:
        yield from check(run)


def _competitors(run: Run) -> list[Record]:
    return [record for record in run.records if record.role not in UNPAIRED]


def _twice(run: Run) -> Iterator[str]:
    """No record stands in a run twice: a table would show one of the two without saying which."""
    counts = Counter(key_of(record) for record in run.records if record.role != "stage")
    yield from (f"{key}: recorded {count} times" for key, count in counts.items() if count > 1)


def _ranges(run: Run) -> Iterator[str]:
    for record in run.records:
        for name, measure in record.measures.items():
            low, high = RANGES.get(name, (-math.inf, math.inf))
            if wrong := [v for v in measure.values if v < low or v > high]:
                yield f"{key_of(record)}: {name} of {wrong[0]:g} is outside of {low:g} to {high:g}"
            if measure.interval and all(map(math.isfinite, (*measure.interval, *measure.values))):
                a, b = measure.interval
                if not a <= b:
                    yield f"{key_of(record)}: the interval of {name} ends before it begins ({a:g}, {b:g})"


def _diverged(run: Run) -> Iterator[str]:
    """Values that are not finite are those of images that are counted as diverged."""
    for record in _competitors(run):
        values = [m.values for m in record.measures.values() if m.kind == "quality" and not m.interval]
        lost = sum(any(not math.isfinite(v) for v in image) for image in zip(*values, strict=True))
        if lost > record.diverged:
            yield f"{key_of(record)}: {lost} images have a value that is not finite, {record.diverged} are counted"


def _images(run: Run) -> Iterator[str]:
    """All cells are of the images that the settings name, and an image is always of the same photograph."""
    said = re.search(r"(\d+) test images of (\d+) photographs", str(run.settings.get("data", "")))
    images, photographs = (int(said[1]), int(said[2])) if said else (0, 0)
    if not said:
        yield f"settings: data {str(run.settings.get('data', ''))!r:.80} do not say how many test images there are"
    elif run.config.get("restoration.images") not in (None, images):
        yield f"settings: {images} test images, config {run.config['restoration.images']}"
    sets: dict[tuple, str] = {}
    for record in _competitors(run):
        sets.setdefault((tuple(record.items), tuple(record.clusters)), key_of(record))
    if len(sets) > 1:
        first, other = list(sets.values())[:2]
        yield f"{other}: is of other images or photographs than {first}"
    for (items, clusters), key in list(sets.items())[:1]:
        if len(set(items)) < len(items):
            yield f"{key}: an image is counted twice"
        if said and (len(items), len(set(clusters))) != (images, photographs):
            yield (
                f"{key}: {len(items)} images of {len(set(clusters))} photographs, the settings say {images} of "
                f"{photographs}"
            )


def _counts(run: Run) -> Iterator[str]:
    """What was counted agrees wherever it stands: evaluations, passes, the budget."""
    first, second = run.stages[0], run.stages[-1]
    for record in _competitors(run):
        nfe = record.measures["nfe"].values[0] if "nfe" in record.measures else None
        counted = record.units.get(second, 0)
        if nfe is None or nfe != counted:
            yield f"{key_of(record)}: {nfe} evaluations measured, {counted:g} charged"
        elif nfe > record.budget or (nfe == 0) != (record.budget == 0):
            yield f"{key_of(record)}: {nfe:g} evaluations at a budget of {record.budget}"
        passes = record.axes.get("passes", record.units.get(first, 0))
        if passes != record.units.get(first, 0):
            yield f"{key_of(record)}: {passes} passes of its first stage, {record.units.get(first, 0):g} charged"


def _costs(run: Run) -> Iterator[str]:
    """What a cell took itself and what it is charged, count times pace, are of one order."""
    paces = Paces(run.records, run.paces)
    for record in _competitors(run):
        charged = paces.work(record).seconds
        for stage, own in record.seconds.items():
            if run.paces and record.units.get(stage) and (stage, record.pace.get(stage)) not in paces.measured:
                yield f"{key_of(record)}: no pace was measured of its stage {stage} ({record.pace.get(stage)!r:.60})"
            elif own > FACTOR * charged[stage] + SLACK or charged[stage] > FACTOR * own + SLACK:
                yield (
                    f"{key_of(record)}: stage {stage} took {own:.3g} s, its count times the pace is "
                    f"{charged[stage]:.3g} s"
                )


def _choices(run: Run) -> Iterator[str]:
    """What a judge chose is what is best by its validation scores."""
    arms: dict[tuple, list[Record]] = {}
    for record in _competitors(run):
        for judge in run.judges:
            if record.seen_by(judge) and judge in record.measures:
                arms.setdefault((record.suite, record.group, record.arm, record.repeat, judge), []).append(record)
    chosen = {key: [r for r in members if key[-1] in r.chosen] for key, members in arms.items()}
    choosing = {(key[0], key[-1]) for key, records in chosen.items() if records}
    for key, members in arms.items():
        name, judge = " / ".join(map(str, key[:-1])), key[-1]
        if (key[0], judge) not in choosing:
            continue
        if len(chosen[key]) != 1:
            yield f"{name}: {judge} chose {len(chosen[key])} of its cells, and not one"
            continue
        sign = 1 if members[0].measures[judge].higher_is_better else -1
        scores = [sign * r.validation[judge] for r in members if math.isfinite(r.validation.get(judge, math.nan))]
        mine = sign * chosen[key][0].validation.get(judge, math.nan)
        if scores and not mine >= max(scores):
            yield f"{name}: the cell that {judge} chose scores {mine:g} on validation images, another one {max(scores)}"


def _derived(run: Run) -> Iterator[str]:
    """Measures that follow from others: rates from seconds, a mean from its parts."""
    for record in run.records:
        values = {name: list(measure.values) for name, measure in record.measures.items()}
        steps = [by for name, by in values.items() if name.startswith("x_0 psnr at ")]
        if steps and "x_0 psnr" in values:
            means = [fmean(image) for image in zip(*steps, strict=True)]
            if not _all_close(values["x_0 psnr"], means):
                yield f"{key_of(record)}: x_0 psnr is not the mean of its steps"
        if {"seconds", "images / s", "iterations / s"} <= set(values):
            (took,) = values["seconds"][:1] or [math.nan]
            rates = [*values["images / s"], *values["iterations / s"]]
            if not took or not _all_close(rates, [1 / took, record.budget / took]):
                yield f"{key_of(record)}: its rates are not those of {took:g} seconds"


def _seeds(run: Run) -> Iterator[str]:
    """Every repeat has the seed that it is named by, and the settings name them all."""
    named = {part.strip() for part in str(run.settings.get("seeds", "")).split(",")}
    for record in run.records:
        if str(record.repeat) not in named or record.seeds.get("seed", record.repeat) != record.repeat:
            yield f"{key_of(record)}: seed {record.seeds.get('seed', record.repeat)}, settings {', '.join(named)}"
            return


def _all_close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=CLOSE) for x, y in zip(a, b, strict=True))


CHECKS: tuple[Callable[[Run], Iterator[str]], ...] = (
    _twice, _ranges, _diverged, _images, _counts, _costs, _choices, _derived, _seeds,
)  # fmt: skip
