"""The contrasts of a verdict as a forest plot: one row for each rival, right of zero where the DIP start is better."""

from __future__ import annotations

import math

from dipddpm.report.comparisons import Tested
from dipddpm.report.contrast import Contrast
from dipddpm.report.metric_names import metric_name
from dipddpm.report.page.vega import Chart, Column, chart, tooltip
from dipddpm.report.sentence import difference, digits
from dipddpm.report.verdict import standing

ROLES = {"control": "best control", "part": "best DIP alone"}
STANDINGS = {"won": "var(--won)", "lost": "var(--lost)", "undecided": "var(--muted)"}


def forest(group: str, tested: Tested) -> Chart | None:
    """The contrasts of one judge; None where no rival was run."""
    made = {role: contrast for role, contrast in tested.contrasts.items() if contrast}
    if not made:
        return None
    rows = [_row(ROLES[role], contrast) for role, contrast in made.items()]
    measure = tested.treatment.record.measures[tested.judge]
    unit = f"{metric_name(tested.judge)}{f', {measure.unit}' if measure.unit else ''}"
    ends = [v for row in rows for v in (row["low"], row["high"], row["effect"])] + [0.0]
    span = max(ends) - min(ends) or 1.0
    x = {
        "field": "effect",
        "type": "quantitative",
        "title": f"{unit}: the DIP start is better →",
        "scale": {"domain": [min(ends) - 0.06 * span, max(ends) + 0.06 * span], "nice": False, "zero": False},
        "axis": {"grid": True, "tickCount": 5},
    }
    y = {
        "field": "rival",
        "type": "nominal",
        "title": None,
        "sort": None,
        "axis": {"labelColor": "var(--ink)", "labelFontSize": 13},
    }
    colour = {
        "field": "standing",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(STANDINGS), "range": list(STANDINGS.values())},
    }
    tips = tooltip(
        Column("name", "rival"), Column("shown", "better by"), Column("p", "p", ".2g"), Column("standing", "contrast")
    )
    ruler = {"y": y, "color": colour, "tooltip": tips}
    spec = chart(
        [
            {
                "data": {"values": [{}]},
                "mark": {"type": "rule", "color": "var(--rule)", "strokeWidth": 1.5},
                "encoding": {"x": {"datum": 0.0}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 3, "strokeCap": "round"},
                "encoding": ruler | {"x": x | {"field": "low"}, "x2": {"field": "high"}},
            },
            {"mark": {"type": "point", "filled": True, "size": 130, "opacity": 1}, "encoding": ruler | {"x": x}},
            {
                "mark": {"type": "text", "dy": -13, "fontSize": 12, "color": "var(--ink)"},
                "encoding": {"y": y, "x": x, "text": {"field": "shown", "type": "nominal"}},
            },
        ],
        {"rows": rows},
        height=52 * len(rows),
        fit="fit-x",
    )
    told = "; ".join(f"against the {row['rival']} {row['told']}, {row['standing']}" for row in rows)
    return Chart(
        f"By {metric_name(tested.judge)}", "", spec, f"Contrasts of {group} by {metric_name(tested.judge)}: {told}."
    )


def _row(rival: str, contrast: Contrast) -> dict:
    d, sign = contrast.difference, contrast.sample.sign(contrast.judge)
    low, high = sorted((sign * d.low, sign * d.high)) if math.isfinite(d.low) else (contrast.effect, contrast.effect)
    unit = contrast.sample.record.measures[contrast.judge].unit
    shown = f"{contrast.effect:+{digits(unit)}}{f' {unit}' if unit else ''}".replace("-", "\u2212")
    return {
        "rival": rival,
        "name": contrast.rival.record.arm,
        "effect": contrast.effect,
        "low": low,
        "high": high,
        "p": d.p,
        "standing": standing(contrast),
        "told": difference(contrast),
        "shown": shown,
    }
