"""Charts beyond restoration: training curves, populations with their floor, cost by stage, growth of cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dipddpm.measure.record import Run
from dipddpm.measure.statistics import repeats_interval
from dipddpm.report.contrast import Sample
from dipddpm.report.growth import Growth
from dipddpm.report.metric_names import metric_name
from dipddpm.report.page.vega import SERIES, Chart, Column, Spec, chart, tooltip
from dipddpm.report.population_contrasts import Population, bounded
from dipddpm.report.training_curves import Curve
from dipddpm.report.words import words

LONGEST = 15  # bars of the costs
PART_COLOURS = {
    "treatment": "var(--treatment)",
    "control": "var(--control)",
    "ablation": "var(--ablation)",
    "bound": "var(--bound)",
}


def training(group: str, members: Sequence[Curve], run: Run) -> Chart:
    """Quality over updates, one line for each arm; priors alone are dashed."""
    metric, rows = run.primary, []
    for curve in members:
        for i, updates in enumerate(curve.updates.tolist()):
            values = curve.values[metric][:, i]
            low, high = repeats_interval(values)
            mean = float(values.mean())
            rows.append(
                {
                    "arm": words(curve.arm),
                    "part": curve.part,
                    "updates": updates,
                    "value": mean,
                    "low": low if np.isfinite(low) else mean,
                    "high": high if np.isfinite(high) else mean,
                    "seconds": float(curve.total[:, i].mean()),
                    "use": "alone" if curve.use == "alone" else "trained",
                }
            )
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    ranges = {"plain": "var(--muted)"}
    parts = {row["arm"]: row["part"] for row in rows}
    colours = [ranges.get(parts[arm], SERIES[i % len(SERIES)]) for i, arm in enumerate(arms)]
    unit = next((r.measures[metric].unit for r in run.records if metric in r.measures), "")
    columns = [
        Column("arm", "arm"),
        Column("updates", "updates", "d"),
        Column("value", metric_name(metric), ".2f"),
        Column("seconds", "seconds of the run", ".3~g"),
    ]
    checkpoints = sorted({row["updates"] for row in rows})
    least = min((u for u in checkpoints if u), default=1)
    xy: Spec = {
        "x": {
            "field": "updates",
            "type": "quantitative",
            "title": "updates of the network",
            "scale": {"type": "symlog", "constant": least},
            "axis": {"values": checkpoints, "labelOverlap": True},
        },
        "y": {
            "field": "value",
            "type": "quantitative",
            "scale": {"zero": False},
            "title": f"{metric_name(metric)}{f' ({unit})' if unit else ''}",
        },
        "color": {"field": "arm", "type": "nominal", "title": None, "scale": {"domain": arms, "range": colours}},
        "opacity": {"condition": {"param": "chosen", "value": 1}, "value": 0.1},
    }
    dash = {"condition": {"test": "datum.use === 'alone'", "value": [5, 4]}, "value": [1, 0]}
    params = [{"name": "chosen", "select": {"type": "point", "fields": ["arm"]}, "bind": "legend"}]
    spec = chart(
        [
            {
                "mark": {"type": "area", "opacity": 0.12},
                "encoding": {k: v for k, v in xy.items() if k != "opacity"}
                | {"y": xy["y"] | {"field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": xy | {"strokeDash": dash}, "params": params},
            {"mark": {"type": "point", "filled": True, "size": 45}, "encoding": xy | {"tooltip": tooltip(*columns)}},
        ],
        {"rows": rows},
        height=340,
    )
    told = f"{metric_name(metric)} of {group} over updates: " + "; ".join(
        f"{c.arm} ends at {c.values[metric][:, -1].mean():.2f}" for c in members
    )
    note = "Dashed: a prior alone, which is not trained. Click a name to see it by itself."
    return Chart(words(group), note, spec, told + ".", columns)


def populations(members: Sequence[Population], title: str) -> Chart | None:
    """One measure of every population with its interval, and the floor: what real images score. None without any."""
    rows: list[dict[str, Any]] = []
    for population in members:
        measures = population.measures.get(title, {})
        if not measures or not bounded(measures):
            continue
        values = [m.values[0] for m in measures.values()]
        first = next(iter(measures.values()))
        low, high = repeats_interval(values) if len(values) > 1 else first.interval
        record = population.first
        rows.append(
            {
                "arm": f"{words(record.arm)}{f', {record.budget} NFE' if record.budget else ''}",
                "value": float(np.mean(values)),
                "low": low,
                "high": high,
                "seconds": population.cost,
                "part": str(record.axes.get("part") or "other"),
            }
        )
    if not rows:
        return None
    short = title.partition("-")[0].partition("@")[0]
    columns = [
        Column("arm", "population"),
        Column("value", short, ".4~g"),
        Column("low", "95 % from", ".4~g"),
        Column("high", "to", ".4~g"),
        Column("seconds", "s / image", ".3~g"),
    ]
    y = {
        "field": "arm",
        "type": "nominal",
        "title": None,
        "axis": {"labelLimit": 220},
        "sort": {"field": "value", "op": "min", "order": "ascending"},
    }
    x = {
        "field": "value",
        "type": "quantitative",
        "title": f"{short}, lower is better",
        "scale": {"zero": False},
        "axis": {"grid": True},
    }
    known = dict.fromkeys(row["part"] for row in rows)
    parts = {part: PART_COLOURS.get(part, "var(--bound)") for part in sorted(known, key=[*PART_COLOURS, *known].index)}
    colour = {
        "field": "part",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(parts), "range": list(parts.values())},
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"y": y, "x": x | {"field": "low"}, "x2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {"y": y, "x": x, "color": colour, "tooltip": tooltip(*columns)},
        },
    ]
    datasets: dict[str, list] = {"rows": rows}
    note = f"{title}. Points with 95 % intervals."
    if floor := next((f for p in members if (f := p.floor(title))), None):
        datasets["floor"] = [{"value": floor.values[0]}]
        layers.insert(
            0,
            {
                "data": {"name": "floor"},
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "var(--ink)"},
                "encoding": {"x": x},
            },
        )
        note += f" Dashed: the floor, what real images of other photographs score ({floor.values[0]:.3g})."
    told = f"{title} of populations, best first: " + "; ".join(
        f"{row['arm']} {row['value']:.3g}" for row in sorted(rows, key=lambda r: r["value"])
    )
    return Chart(short, note, chart(layers, datasets, height=26 * len(rows), fit="fit-x"), told + ".", columns)


def cost_by_stage(group: str, samples: Sequence[Sample], stages: Sequence[str], judge: str) -> Chart | None:
    """What the best arms of a judge cost an image, by stage. None where nothing costs anything."""
    shown = [s for s in samples if s.cost > 0][:LONGEST]
    if not shown:
        return None
    names = [*dict.fromkeys([*stages, *(stage for s in shown for stage in s.seconds)])]
    rows = [
        {"arm": words(s.record.arm), "stage": words(stage), "seconds": seconds, "place": i}
        for i, s in enumerate(shown)
        for stage, seconds in s.seconds.items()
        if seconds > 0
    ]
    columns = [Column("arm", "arm"), Column("stage", "stage"), Column("seconds", "s / image", ".3~g")]
    colours = ["var(--treatment)", "var(--control)", *SERIES[2:]]
    spec = chart(
        [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 2},
                "encoding": {
                    "y": {
                        "field": "arm",
                        "type": "nominal",
                        "title": None,
                        "axis": {"labelLimit": 200},
                        "sort": {"field": "place", "op": "min", "order": "ascending"},
                    },
                    "x": {
                        "field": "seconds",
                        "type": "quantitative",
                        "title": "seconds per image",
                        "axis": {"grid": True, "format": "~g"},
                    },
                    "color": {
                        "field": "stage",
                        "type": "nominal",
                        "title": None,
                        "scale": {
                            "domain": [*map(words, names)],
                            "range": [colours[i % len(colours)] for i in range(len(names))],
                        },
                    },
                    "tooltip": tooltip(*columns),
                },
            }
        ],
        {"rows": rows},
        height=22 * len({row["arm"] for row in rows}),
        fit="fit-x",
    )
    told = f"Seconds per image of {group} by stage: " + "; ".join(f"{s.record.arm} {s.cost:.3g} s" for s in shown)
    note = f"The best arms by {metric_name(judge)}, best first; counted work times the run's median pace."
    return Chart("Cost by stage", note, spec, told + ".", columns)


def growth(grown: Sequence[Growth]) -> list[Chart]:
    """Seconds over the size of the work, on logarithmic scales: one chart for each kind of size."""
    made = []
    for against in dict.fromkeys(g.against for g in grown):
        mine = [g for g in grown if g.against == against]
        rows = [
            {"stage": words(g.stage), "size": size, "seconds": seconds, "exponent": g.exponent.value}
            for g in mine
            for size, seconds in zip(g.sizes, g.seconds, strict=True)
        ]
        columns = [
            Column("stage", "stage"),
            Column("size", against, "d"),
            Column("seconds", "seconds", ".3~g"),
            Column("exponent", "fitted exponent", ".2f"),
        ]
        names = [words(g.stage) for g in mine]
        xy = {
            "x": {"field": "size", "type": "quantitative", "title": against, "scale": {"type": "log"}},
            "y": {"field": "seconds", "type": "quantitative", "title": "seconds", "scale": {"type": "log"}},
            "color": {
                "field": "stage",
                "type": "nominal",
                "title": None,
                "scale": {"domain": names, "range": [SERIES[i % len(SERIES)] for i in range(len(names))]},
            },
        }
        layers = [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": xy},
            {"mark": {"type": "point", "filled": True, "size": 50}, "encoding": xy | {"tooltip": tooltip(*columns)}},
        ]
        told = f"Seconds against {against}: " + "; ".join(
            f"{g.stage} grows as its power {g.exponent.value:.2f}" for g in mine
        )
        made.append(
            Chart(f"Seconds against {against}", "", chart(layers, {"rows": rows}, height=260), told + ".", columns)
        )
    return made
