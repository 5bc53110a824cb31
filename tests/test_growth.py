"""How cost grows: exponents that are known, records that are read back, and a figure whose labels keep apart."""

from itertools import combinations

import numpy as np
import planted
import pytest
from matplotlib.text import Annotation, Text

from dipddpm.measure.record import Run
from dipddpm.report import growth
from dipddpm.report.figures import draw
from dipddpm.report.figures import growth as figure
from dipddpm.report.figures.canvas import style
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown

SIZES = (2, 4, 8, 16)


def of(stage, against="images", power=1.0, scale=0.1, sizes=SIZES):
    """Three repeats, of which one was disturbed."""
    return growth.record(stage, against, sizes, [[t, t, 5 * t] for t in (scale * n**power for n in sizes)])


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_is_found_without_error(power):
    found = growth.exponent(SIZES, [0.3 * n**power for n in SIZES])
    assert found.value == pytest.approx(power) and found.error == pytest.approx(0, abs=1e-7)
    assert found.low <= found.high


def test_the_error_is_that_of_least_squares():
    sizes, rng = np.array([1.0, 2, 4, 8, 16]), np.random.default_rng(0)
    seconds = sizes**1.2 * np.exp(rng.normal(0, 0.1, 5))
    (slope, _), covariance = np.polyfit(np.log(sizes), np.log(seconds), 1, cov=True)
    found = growth.exponent(sizes, seconds)
    assert found.value == pytest.approx(slope) and found.error == pytest.approx(covariance[0, 0] ** 0.5)
    assert (found.high - found.value) / found.error == pytest.approx(3.182, abs=1e-3)  # t at 97.5 %, 3 degrees


def test_the_interval_holds_the_true_exponent_as_often_as_it_says():
    sizes, rng, hits = np.array(SIZES), np.random.default_rng(1), 0
    for _ in range(400):
        found = growth.exponent(sizes, sizes * np.exp(rng.normal(0, 0.1, len(sizes))))
        hits += found.low <= 1 <= found.high
    assert 0.92 < hits / 400 < 0.98


def test_records_are_read_back(tmp_path):
    grown = [of("dip fit", power=1.5), of("metrics", sizes=(100, 200, 400))]
    run = planted.run([*grown, *planted.experiment(1, 1).records])
    run.save(tmp_path / "run.json")
    fit, metric = growth.growths(Run.load(tmp_path / "run.json").records)
    assert (fit.stage, fit.against, fit.sizes) == ("dip fit", "images", SIZES)
    assert fit.exponent.value == pytest.approx(1.5)
    assert fit.seconds == pytest.approx([0.1 * n**1.5 for n in SIZES]), "medians: the disturbed repeat has no say"
    assert metric.sizes == (100, 200, 400)


def test_the_report_has_the_table_and_the_figure(tmp_path):
    run = planted.run([of("dip fit", power=1.5), of("sampling", "steps")])
    (png,) = draw(run, tmp_path / "figures")
    assert png.name == "growth.png" and png.with_suffix(".svg").exists()
    text = markdown(run, frame(run), [png.relative_to(tmp_path)])
    assert "## growth" in text and "| 1.5 [1.5, 1.5]" in text and "![growth](figures/growth.png)" in text
    assert "0.2828" in text  # seconds at the smallest size, the median


def test_labels_keep_apart_and_inside():
    """Lines that end at the same point, many of them."""
    made = [of(f"stage number {i}", scale=0.1 + i / 1000) for i in range(7)]
    made += [of("sampling", "steps"), of("restoration", "cells")]
    with style():
        chart = figure.chart(growth.growths(made))
        chart.draw_without_rendering()
    labels = [text for axes in chart.axes for text in axes.texts if isinstance(text, Annotation)]
    boxes = [Text.get_window_extent(text) for text in labels]  # without the line that leads to it
    assert len(boxes) == 9 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(b.x0 >= 0 and b.x1 <= chart.bbox.x1 and b.y0 >= 0 and b.y1 <= chart.bbox.y1 for b in boxes)
