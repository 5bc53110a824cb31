"""Charts of arms over what is swept: quality against network evaluations, against the duration of the first stage, and
over the entry step."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dipddpm.report.comparisons import Tested
from dipddpm.report.contrast import Sample, best_validated
from dipddpm.report.metric_names import metric_name
from dipddpm.report.page.vega import SERIES, Chart, Column, Spec, axis_title, chart, form_of, from_zero, point, tooltip
from dipddpm.report.words import architecture, iterations, name_at, words

ALONE = " alone"  # the name of an arm at budget 0 ends like this


def against_budget(
    group: str, samples: Sequence[Sample], metric: str, tested: Tested | None, comparator: str
) -> Chart | None:
    """Every arm over its budgets: those of the verdict in colour, all others behind them. None without a budget."""
    samples = [s for s in samples if s.record.leak == "none" and s.record.role != "ablation"]
    if not any(s.record.budget for s in samples):
        return None
    named = _of_the_verdict(tested, comparator)
    rows = [point(s, metric) | {"line": s.record.arm.removesuffix(ALONE)} for s in samples]
    rows.sort(key=lambda row: row["nfe"])
    shown = [row | {"who": named[row["line"]]} for row in rows if row["line"] in named]
    labels = [label for label in dict.fromkeys(named.values()) if any(row["who"] == label for row in shown)]
    budgets = sorted({row["nfe"] for row in rows})
    form = form_of(samples[0], metric)
    columns = [
        Column("arm", "arm"),
        Column("role", "role"),
        Column("nfe", "NFE", "d"),
        Column("value", metric_name(metric), form),
        Column("low", "95 % from", form),
        Column("high", "to", form),
        Column("seconds", "s / image", ".3~g"),
        Column("setting", "setting"),
    ]
    x = {
        "field": "nfe",
        "type": "quantitative",
        "axis": {"values": budgets, "labelOverlap": True},
        "scale": from_zero(budgets),
        "title": "network evaluations per image" + ("; 0: the start alone" if budgets[0] == 0 else ""),
    }
    y = {"field": "value", "type": "quantitative", "title": axis_title(samples[0], metric), "scale": {"zero": False}}
    colours = {
        "field": "who",
        "type": "nominal",
        "title": None,
        "legend": {"columns": 1},
        "scale": {"domain": labels, "range": ["var(--treatment)", "var(--control)", "var(--part)", "var(--series-3)"]},
    }
    tips = tooltip(*columns)
    over = {"data": {"name": "shown"}}
    behind = {"x": x, "y": y, "detail": {"field": "line"}}
    near: Spec = {
        "name": "near",
        "select": {"type": "point", "on": "pointerover", "fields": ["line"], "clear": "pointerout"},
    }
    lit = {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0.28}
    spec = chart(
        [
            {
                "mark": {"type": "line", "color": "var(--muted)", "strokeWidth": 1.2},
                "encoding": behind | {"opacity": lit},
            },
            {
                "mark": {"type": "point", "filled": True, "color": "var(--muted)", "size": 40},
                "params": [near],
                "encoding": behind | {"opacity": lit, "tooltip": tips},
            },
            over
            | {
                "mark": {"type": "rule", "strokeWidth": 1.5},
                "encoding": {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": colours},
            },
            over
            | {
                "mark": {"type": "line", "strokeWidth": 2.5},
                "encoding": {"x": x, "y": y, "color": colours, "detail": {"field": "line"}},
            },
            over
            | {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x, "y": y, "color": colours, "tooltip": tips},
            },
        ],
        {"rows": rows, "shown": shown},
        height=340,
    )
    arms = len({row["line"] for row in rows})
    told = f"{metric_name(metric)} of {group} over network evaluations per image, of {arms} arms."
    note = (
        "In colour: what the verdict compares, with 95 % intervals. Grey: every other arm without a leak; "
        "hover to see which."
    )
    return Chart("Quality against network evaluations", note, spec, told, columns)


def _of_the_verdict(tested: Tested | None, comparator: str) -> dict[str, str]:
    """{arm: its label}, of the arms that a reader of the verdict looks for."""
    named = {}
    if tested:
        named[tested.treatment.record.arm] = f"tested: {words(tested.treatment.record.arm)}"
        for role, what in (("control", "best control"), ("part", "best DIP alone")):
            if contrast := tested.contrasts[role]:
                arm = contrast.rival.record.arm.removesuffix(ALONE)
                # The first stage of the tested treatment is the same line, at budget 0.
                named.setdefault(arm, f"{what}: {words(contrast.rival.record.arm)}")
    named.setdefault(comparator, words(comparator))
    return named


def against_duration(group: str, samples: Sequence[Sample], metric: str) -> list[Chart]:
    """Quality over the duration of the first stage, alone and with the diffusion: one chart each, one line for each
    architecture, the best control as a band."""
    samples = [s for s in samples if s.on_duration_curve]
    chosen = [s for s in samples if metric in s.record.chosen and architecture(s)]
    stages = {
        "The DIP alone": [s for s in samples if s.record.role == "part" and architecture(s)],
        "The DIP, then diffusion": [
            s for s in chosen if s.record.role == "treatment" or (s.record.role == "ablation" and not iterations(s))
        ],
    }
    stages = {title: mine for title, mine in stages.items() if len({iterations(s) for s in mine}) > 1}
    if not stages:
        return []
    control = best_validated([s for s in samples if s.record.role == "control" and metric in s.record.chosen], metric)
    every = [s for mine in stages.values() for s in mine]
    names = list(dict.fromkeys(architecture(s) for s in every))
    ends = [e for s in [*every, *([control] if control else [])] for e in _ends(s, metric)]
    margin = 0.04 * (max(ends) - min(ends)) or 0.5
    domain = [min(ends) - margin, max(ends) + margin]
    lengths = sorted({iterations(s) for s in every})
    return [_duration(group, title, mine, metric, names, lengths, domain, control) for title, mine in stages.items()]


def _ends(sample: Sample, metric: str) -> list[float]:
    e = sample.interval(metric)
    return [v for v in (e.low, e.mean, e.high) if abs(v) < float("inf")]


def _duration(
    group: str,
    title: str,
    samples: Sequence[Sample],
    metric: str,
    names: Sequence[str],
    lengths: Sequence[int],
    domain: Sequence[float],
    control: Sample | None,
) -> Chart:
    rows = [point(s, metric) | {"iterations": iterations(s), "architecture": words(architecture(s))} for s in samples]
    rows.sort(key=lambda row: row["iterations"])
    form = form_of(samples[0], metric)
    columns = [
        Column("architecture", "architecture"),
        Column("iterations", "iterations", "d"),
        Column("nfe", "NFE", "d"),
        Column("value", metric_name(metric), form),
        Column("low", "95 % from", form),
        Column("high", "to", form),
        Column("seconds", "s / image", ".3~g"),
    ]
    x = {
        "field": "iterations",
        "type": "quantitative",
        "scale": from_zero(lengths),
        "axis": {"values": lengths, "labelOverlap": True},
        "title": "DIP iterations" + ("; 0: untrained" if lengths[0] == 0 else ""),
    }
    scale = {"domain": list(domain), "nice": False, "zero": False}
    y = {"field": "value", "type": "quantitative", "title": axis_title(samples[0], metric), "scale": scale}
    colour = {
        "field": "architecture",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [*map(words, names)], "range": [SERIES[i % len(SERIES)] for i in range(len(names))]},
    }
    xy: Spec = {"x": x, "y": y, "color": colour}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.7},
            "encoding": xy | {"y": y | {"field": "low"}, "y2": {"field": "high"}},
        },
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": xy},
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": xy | {"tooltip": tooltip(*columns)},
        },
    ]
    datasets: dict[str, list] = {"rows": rows}
    note = f"One line for each architecture, at the durations of equal cost; {words(group)}."
    if control:
        band = point(control, metric)
        datasets["band"] = [band]
        over = {"data": {"name": "band"}}
        layers[:0] = [
            over
            | {
                "mark": {"type": "rect", "color": "var(--control)", "opacity": 0.14},
                "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}},
            },
            over | {"mark": {"type": "rule", "color": "var(--control)", "strokeWidth": 1.5}, "encoding": {"y": y}},
        ]
        note = f"One line for each architecture. The band: the best control by validation, {name_at(control)}."
    told = f"{metric_name(metric)} of {group} over DIP iterations: {title.lower()}."
    return Chart(title, note, chart(layers, datasets, height=260), told, columns)


def over_entry_step(group: str, samples: Sequence[Sample], metric: str) -> list[Chart]:
    """Quality over the step at which the diffusion is entered and over its budget: a heat map for each arm."""
    maps: dict[str, list[dict]] = {}
    for s in samples:
        t0 = s.record.axes.get("t0")
        if s.record.role in ("treatment", "ablation") and isinstance(t0, int | float):
            name = re.sub(r"\W*\bt0\b.*", "", s.record.arm) or s.record.arm
            maps.setdefault(name, []).append(point(s, metric) | {"t0": int(t0)})
    made = []
    for name, rows in maps.items():
        form = form_of(samples[0], metric)
        columns = [
            Column("t0", "entry step t0", "d"),
            Column("nfe", "NFE", "d"),
            Column("value", metric_name(metric), form),
            Column("low", "95 % from", form),
            Column("high", "to", form),
        ]
        best = max(rows, key=lambda row: samples[0].sign(metric) * row["value"])
        for row in rows:
            row["best"] = "best" if row is best else ""
        xy = {
            "x": {
                "field": "nfe",
                "type": "ordinal",
                "title": "network evaluations per image",
                "axis": {"labelAngle": 0},
            },
            "y": {"field": "t0", "type": "ordinal", "title": "entry step t0", "sort": "descending"},
        }
        fill = {
            "field": "value",
            "type": "quantitative",
            "title": axis_title(samples[0], metric),
            "scale": {"scheme": "viridis", "zero": False, "reverse": samples[0].sign(metric) < 0},
            "legend": {"direction": "horizontal", "orient": "bottom"},
        }
        marked = {"condition": {"test": "datum.best == 'best'", "value": "var(--ink)"}, "value": None}
        spec = chart(
            [
                {
                    "mark": {"type": "rect", "strokeWidth": 2.5},
                    "encoding": xy | {"color": fill, "stroke": marked, "tooltip": tooltip(*columns)},
                }
            ],
            {"rows": rows},
            height=34 * len({row["t0"] for row in rows}),
            fit="fit-x",
        )
        at = f"t0 {best['t0']}, {best['nfe']} NFE"
        told = f"{metric_name(metric)} of {group} over entry step and budget, {name}: best at {at}."
        title = f"Entry step and budget, {words(name)}"
        made.append(
            Chart(
                title, "Where the diffusion is entered, and for how long. The best cell is framed.", spec, told, columns
            )
        )
    return made
