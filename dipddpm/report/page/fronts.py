"""Charts of single results: quality against seconds, and one judge against the other, each with its Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dipddpm.report.contrast import Sample
from dipddpm.report.metric_names import metric_name
from dipddpm.report.page.vega import (
    Chart,
    Column,
    Spec,
    axis_title,
    chart,
    form_of,
    point,
    role_scale,
    tooltip,
)
from dipddpm.report.pareto import pareto_front
from dipddpm.report.words import ROLE_WORDS

FRONT_LINE = {"type": "line", "color": "var(--ink)", "strokeWidth": 1.2, "interpolate": "step-after"}
KEPT = 0.8  # share of the arms, the best ones by either judge, that the plane is scaled to


def against_seconds(group: str, samples: Sequence[Sample], metric: str) -> Chart | None:
    """Every arm at every budget over what it costs; None where nothing costs anything."""
    samples = [s for s in samples if s.record.role in ROLE_WORDS]
    if not any(s.cost > 0 for s in samples):
        return None
    rows = [point(s, metric) for s in samples]
    honest = [i for i, s in enumerate(samples) if s.record.leak == "none"]
    higher = samples[0].sign(metric) > 0
    front = [
        honest[i]
        for i in pareto_front([rows[i]["seconds"] for i in honest], [rows[i]["value"] for i in honest], higher)
    ]
    for i, row in enumerate(rows):
        row["front"] = "on the front" if i in front else ""
    dearest = max(row["seconds"] for row in rows)
    line = [rows[i] for i in front] + ([rows[front[-1]] | {"seconds": dearest}] if front else [])
    paid = [row["seconds"] for row in rows if row["nfe"] and row["seconds"] > 0]
    least = 10.0 ** math.floor(math.log10(min(paid or [s for row in rows if (s := row["seconds"]) > 0])))
    scale = {"type": "symlog", "constant": least, "nice": False}
    x = {
        "field": "seconds",
        "type": "quantitative",
        "title": "seconds per image, all stages",
        "scale": scale,
        "axis": {"format": ".3~g", "values": _decades(least, dearest), "labelOverlap": True},
    }
    form = form_of(samples[0], metric)
    y = {"field": "value", "type": "quantitative", "title": axis_title(samples[0], metric), "scale": {"zero": False}}
    columns = [
        Column("arm", "arm"),
        Column("role", "role"),
        Column("nfe", "NFE", "d"),
        Column("seconds", "s / image", ".3~g"),
        Column("value", metric_name(metric), form),
        Column("front", "Pareto front"),
        Column("setting", "setting"),
    ]
    spec = _scatter(rows, line, x, y, columns)
    best = ", ".join(dict.fromkeys(rows[i]["arm"] for i in front))
    told = f"{metric_name(metric)} of {group} against seconds per image. On the Pareto front: {best}."
    note = (
        "Each point is an arm at a budget. The line joins those that nothing cheaper beats; "
        "rows that saw the photograph are not on it."
    )
    return Chart("Quality against seconds", note, spec, told, columns)


def plane(group: str, samples: Sequence[Sample], distortion: str, perception: str) -> Chart | None:
    """The perception-distortion plane of the arms as either judge chose them; None with fewer than two arms.

    Source: Blau and Michaeli, The Perception-Distortion Tradeoff (2018), arXiv 1711.06077.
    """
    shown = [
        s
        for s in samples
        if s.record.leak == "none"
        and s.record.role in ROLE_WORDS
        and {distortion, perception} & {*s.record.chosen}
        and perception in s.values
        and np.isfinite(s.values[perception]).all()
    ]
    if len(shown) < 2:
        return None
    first = shown[0]
    signs = np.array([first.sign(distortion), first.sign(perception)])
    points = np.array([(s.mean(distortion), s.mean(perception)) for s in shown])
    worse = -signs * points
    front = pareto_front(worse[:, 0].tolist(), worse[:, 1].tolist(), higher_is_better=False)
    limits = np.maximum(np.quantile(worse, KEPT, axis=0), worse[front].max(axis=0))
    inside = (worse <= limits + 1e-12).all(axis=1)
    rows = [
        point(s, distortion) | {"perception": float(points[i, 1]), "front": "on the front" if i in front else ""}
        for i, s in enumerate(shown)
        if inside[i]
    ]
    line = [point(shown[i], distortion) | {"perception": float(points[i, 1])} for i in front]
    columns = [
        Column("arm", "arm"),
        Column("role", "role"),
        Column("nfe", "NFE", "d"),
        Column("seconds", "s / image", ".3~g"),
        Column("value", metric_name(distortion), form_of(first, distortion)),
        Column("perception", metric_name(perception), form_of(first, perception)),
        Column("front", "front"),
        Column("setting", "setting"),
    ]
    x = {
        "field": "value",
        "type": "quantitative",
        "title": f"{axis_title(first, distortion)}, better to the left",
        "scale": {"zero": False, "reverse": bool(signs[0] > 0)},
    }
    y = {
        "field": "perception",
        "type": "quantitative",
        "title": axis_title(first, perception),
        "scale": {"zero": False},
    }
    beyond = len(shown) - len(rows)
    note = "The better corner is lower left. The line joins the arms that no other beats by both judges." + (
        f" {beyond} arms that are worse by far lie beyond the axes." if beyond else ""
    )
    told = f"{metric_name(perception)} of {group} against {metric_name(distortion)}. On the front: " + ", ".join(
        dict.fromkeys(shown[i].record.arm for i in front)
    )
    return Chart("Perception against distortion", note, _scatter(rows, line, x, y, columns), told + ".", columns)


def _scatter(rows: list[dict], line: list[dict], x: Spec, y: Spec, columns: Sequence[Column]) -> Spec:
    roles = [row["role"] for row in rows]
    encoding = {
        "x": x,
        "y": y,
        "tooltip": tooltip(*columns),
        "color": {"field": "role", "type": "nominal", "scale": role_scale(roles, "color"), "title": None},
        "shape": {"field": "role", "type": "nominal", "scale": role_scale(roles, "shape"), "title": None},
        "opacity": {"condition": {"param": "chosen", "value": 0.85}, "value": 0.08},
        "size": {"condition": {"test": "datum.front != ''", "value": 110}, "value": 45},
    }
    params = [{"name": "chosen", "select": {"type": "point", "fields": ["role"]}, "bind": "legend"}]
    points: Spec = {"mark": {"type": "point", "filled": True}, "encoding": encoding, "params": params}
    order = {"field": "place", "type": "quantitative"}
    joined: Spec = {"data": {"name": "front"}, "mark": FRONT_LINE, "encoding": {"x": x, "y": y, "order": order}}
    front = [row | {"place": i} for i, row in enumerate(line)]
    return chart([joined, points] if front else [points], {"rows": rows, "front": front}, height=340)


def _decades(least: float, dearest: float) -> list[float]:
    """Ticks at 1 and 3 times each power of ten from ``least`` on, and at 0."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(dearest)) + 1)
    return [0.0, *(tick for k in powers for m in (1, 3) if least <= (tick := float(f"{m}e{k}")) <= 1.2 * dearest)]
