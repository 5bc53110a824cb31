"""What all charts of the page share: a look that follows the reader's light or dark scheme, and rows that can be read.

A chart is a Vega-Lite specification. Its colours are custom properties of the page's style sheet, so that one drawing
serves both schemes and paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dipddpm.report.contrast import Sample
from dipddpm.report.metric_names import metric_name
from dipddpm.report.words import ROLE_WORDS

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
ROLE_COLOURS = {role: f"var(--{role})" for role in ROLE_WORDS}
ROLE_SHAPES = {
    "treatment": "circle",
    "control": "square",
    "part": "triangle-up",
    "ablation": "diamond",
    "bound": "cross",
}
SERIES = [f"var(--series-{i})" for i in range(1, 9)]

_TEXT = {"labelColor": "var(--muted)", "titleColor": "var(--muted)", "titleFontWeight": "normal"}
CONFIG: Spec = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "aria": False,  # the page describes every chart, and has its numbers in a table
    "view": {"stroke": None},
    "axis": _TEXT
    | {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "titlePadding": 8,
        "labelPadding": 5,
    },
    "axisX": {"grid": False},
    "axisY": {
        "domain": False,
        "ticks": False,
        "titleAngle": 0,
        "titleAlign": "left",
        "titleAnchor": "start",
        "titleX": 0,
        "titleY": -14,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "orient": "bottom",
        "direction": "horizontal",
        "columns": 2,
        "labelLimit": 300,
        "symbolOpacity": 1,
        "titleFontSize": 12,
        "symbolStrokeWidth": 2,
        "rowPadding": 4,
    },
    "header": _TEXT | {"labelFontSize": 12},
}


@dataclass(frozen=True)
class Column:
    """A column of the table that holds the numbers of a chart."""

    field: str
    title: str
    form: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        title, note: what stands above it; the note says how to read it.
        spec: Vega-Lite, with the rows that it draws under ``datasets``.
        told: a description for readers who cannot see the chart.
        columns: of the table of its numbers; empty where the page has them elsewhere.
        rows: the name of the data set which that table shows.
    """

    title: str
    note: str
    spec: Spec
    told: str
    columns: Sequence[Column] = ()
    rows: str = "rows"
    wide: bool = field(default=False)


def chart(
    layers: Sequence[Spec],
    datasets: Mapping[str, Sequence[Mapping]],
    *,
    height: int = 300,
    fit: str = "fit",
    **more: Any,
) -> Spec:
    """A specification as wide as its place on the page.

    Args:
        layers: drawn over each other; they read ``rows`` of ``datasets`` unless they say otherwise.
        fit: ``fit`` where axes and legend share the height, ``fit-x`` where it is of the data alone.
        more: further top-level properties.
    """
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": fit, "contains": "padding"},
        "data": {"name": "rows"},
        "datasets": {name: [*map(clean, rows)] for name, rows in datasets.items()},
        "layer": list(layers),
        "config": CONFIG,
    } | more


def clean(row: Mapping) -> dict[str, Any]:
    """A row as JSON can hold it: floats with six digits, which is finer than any screen, and no NaN."""
    return {
        name: (float(f"{value:.6g}") if math.isfinite(value) else None) if isinstance(value, float) else value
        for name, value in row.items()
    }


def point(sample: Sample, metric: str) -> dict[str, Any]:
    """A sample as a row: who it is, and its mean by a metric with its interval."""
    record, estimate = sample.record, sample.interval(metric)
    # A single photograph has no interval: it is drawn with length 0, both ends at the mean.
    low, high = (end if math.isfinite(end) else estimate.mean for end in (estimate.low, estimate.high))
    return {
        "arm": record.arm,
        "role": ROLE_WORDS[record.role],
        "nfe": record.budget,
        "seconds": sample.cost,
        "value": estimate.mean,
        "low": low,
        "high": high,
        "setting": str(record.axes.get("setting") or ""),
    }


def tooltip(*columns: Column) -> list[Spec]:
    """The same columns as a tooltip."""
    return [
        {"field": c.field, "title": c.title}
        | ({"format": c.form, "type": "quantitative"} if c.form else {"type": "nominal"})
        for c in columns
    ]


def axis_title(sample: Sample, metric: str) -> str:
    """``PSNR (dB)``; an arrow where less is better."""
    measure = sample.record.measures[metric]
    return (
        metric_name(metric) + (f" ({measure.unit})" if measure.unit else "") + (" ↓" * (not measure.higher_is_better))
    )


def form_of(sample: Sample, metric: str) -> str:
    """The number format of a metric, as d3 writes it."""
    return ".2f" if sample.record.measures[metric].unit == "dB" else ".4f"


def from_zero(values: Sequence[float]) -> Spec:
    """A logarithmic scale that has a place for 0: linear below the least positive value."""
    positive = [v for v in values if v > 0]
    least = min(positive, default=1.0)
    if len(positive) == len(values):
        return {"type": "log", "nice": False}
    return {"type": "symlog", "constant": least, "nice": False}


def role_scale(roles: Sequence[str], what: str) -> Spec:
    """Colours or shapes of the roles that are there; ``what`` is ``color`` or ``shape``."""
    known = ROLE_COLOURS if what == "color" else ROLE_SHAPES
    names = [role for role in ROLE_WORDS if ROLE_WORDS[role] in roles]
    return {"domain": [ROLE_WORDS[role] for role in names], "range": [known[role] for role in names]}
