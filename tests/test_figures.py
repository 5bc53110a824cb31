"""Figures: files that are whole and the same every time, text that can be read, and a front that is right."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from dipddpm.measure.record import Measure, Record, Run
from dipddpm.report import figures
from dipddpm.report.figures import draw, pareto_front, picture_grid

ITEMS = 4


def cell(arm: str, role: str, budget: int, value: float, seconds: float, **options: object) -> Record:
    """A record whose items lie around ``value``."""
    axes = {name: options.pop(name) for name in ("architecture", "iterations", "t0") if name in options}
    spread = np.linspace(-1, 1, ITEMS)
    repeats = {"suite": "restoration", "group": "inpaint", "chosen": ["psnr"] if budget in (0, 5) else []} | options
    return Record(
        arm=arm, role=role, budget=budget, axes=axes, seconds={"diffusion": seconds}, items=["a", "b", "c", "d"],
        measures={"psnr": Measure("dB", True, "quality", (value + spread).tolist())}, **repeats,
    )  # fmt: skip


def records(architectures: Sequence[str], **options: object) -> list[Record]:
    """Two controls, a bound, and each architecture at two durations with everything that belongs to it."""
    made = [cell("pinv alone", "control", 0, 14, 1e-5, **options)]
    for budget in (1, 5, 20):
        made += [
            cell("noise", "control", budget, 15 + budget / 4, 0.01 * budget, **options),
            cell("pinv", "control", budget, 17 + budget / 4, 0.01 * budget, **options),
            cell("oracle", "bound", budget, 28, 0.01 * budget, leak="clean-target", **options),
        ]
    for i, architecture in enumerate(architectures):
        own = {"architecture": architecture, **options}
        for iterations in (50, 200):
            value, seconds = 20 + i + iterations / (100 + 100 * (i % 2)), 0.01 * iterations / (1 + i)
            name = f"dip {architecture} {iterations}"
            made.append(cell(f"{name} alone", "part", 0, value - 1, seconds, iterations=iterations, **own))
            for budget in (1, 5):
                cost = seconds + 0.01 * budget
                made.append(cell(name, "treatment", budget, value, cost, iterations=iterations, **own))
        for budget in (1, 5):
            made.append(cell(f"untrained {architecture}", "ablation", budget, 16, 0.1, iterations=0, **own))
    return made


def grid(**options: object) -> list[Record]:
    """One arm at many entry steps, which its name carries."""
    return [
        cell(f"dip skip 200 t0 {t0}", "treatment", budget, 20 - abs(t0 - 300) / 100 + budget / 10, 1, t0=t0,
             architecture="skip", iterations=200, suite="t0 by budget", **options)
        for t0 in (100, 300, 600) for budget in (1, 5)
    ]  # fmt: skip


def run_of(made: list[Record]) -> Run:
    return Run(
        title="title", settings={}, judges=["psnr"], thresholds={"psnr": [20.0]}, grid=[1, 5], comparator="noise",
        margin=0.5, stages=["dip", "diffusion"], machine={}, records=made,
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> list[Path]:
    """The figures of a whole run, on disk."""
    return draw(run_of(records(["skip"]) + grid()), tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def unsaved(monkeypatch) -> list[tuple[str, Figure]]:
    """Figures by name, caught before they are written, which is what takes long."""
    caught: list[tuple[str, Figure]] = []
    monkeypatch.setattr(figures, "save", lambda figure, stem: caught.append((stem.name, figure)) or stem)
    return caught


def test_every_figure_is_a_valid_png_and_svg(drawn):
    stems = ["quality-against-nfe", "quality-against-seconds", "quality-against-duration", "t0-by-budget"]
    assert [path.name for path in drawn] == [f"{stem}-inpaint.png" for stem in stems]
    assert len(list(drawn[0].parent.iterdir())) == 2 * len(drawn)
    for path in drawn:
        with Image.open(path) as image:
            image.load()
            assert image.width == 1050  # 7 in at 150 dpi
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert ElementTree.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_the_same_run_gives_the_same_bytes_under_any_settings(drawn, tmp_path):
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9}):
        draw(run_of(records(["skip"]) + grid()), tmp_path)
    for path in drawn[0].parent.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_what_the_run_lacks_is_skipped(unsaved):
    def names(made: list[Record]) -> list[str]:
        unsaved.clear()
        draw(run_of(made), Path())
        return [name.removesuffix("-inpaint") for name, _ in unsaved]

    everything = records(["skip"])
    assert names([]) == []
    assert names([cell("skip", "stage", 5, 1, 1)]) == []
    assert names(grid()) == ["t0-by-budget"]
    assert names([r for r in everything if r.role == "control"]) == ["quality-against-nfe", "quality-against-seconds"]
    assert names([r for r in everything if r.role == "part"]) == ["quality-against-seconds", "quality-against-duration"]
    assert names([cell("free", "control", 0, 14, 0.0)]) == []
    assert "t0-by-budget" not in names(everything)


def test_what_is_stopped_averaged_or_diverged_is_no_point_over_durations(unsaved):
    made = records(["skip"])

    def heights() -> list[list[float]]:
        unsaved.clear()
        draw(run_of(made), Path())
        axes = dict(unsaved)["quality-against-duration-inpaint"].axes
        return [list(line.get_ydata()) for panel in axes for line in panel.lines]

    before = heights()
    for output, stopping, iterations in (("ema", "fixed", 200), ("last", "es-wmv", 120)):
        for role, budget in (("treatment", 5), ("part", 0)):
            own = cell(f"dip skip {output} {stopping}", role, budget, 30, 2, architecture="skip", iterations=iterations)
            made.append(replace(own, axes={**own.axes, "output": output, "stopping": stopping}))
    assert heights() == before
    nan = Measure("dB", True, "quality", [float("nan")] * ITEMS)
    made += [replace(cell(f"diverged {role}", role, 5, 0, 1), measures={"psnr": nan}) for role in ("control", "bound")]
    assert heights() == before and len(unsaved) == 3


def test_each_group_is_drawn_apart_and_one_that_leaks_throughout_says_so(unsaved):
    leaking = cell("dip skip 50", "treatment", 5, 22, 1, group="a b/c", leak="clean-target", architecture="skip")
    draw(run_of([leaking, cell("noise", "control", 5, 22, 1)]), Path())
    by_name = dict(unsaved)
    assert by_name["quality-against-seconds-a-b-c"].get_suptitle().startswith("a b/c (saw the target), n = 4")
    assert by_name["quality-against-seconds-inpaint"].get_suptitle().startswith("inpaint, n = 4")


def test_repeats_are_averaged_but_entry_steps_are_not_repeats(unsaved):
    made = grid(repeat=0) + [
        replace(r, repeat=1, measures={"psnr": replace(r.measures["psnr"], values=[30.0] * ITEMS)}) for r in grid()
    ]
    draw(run_of(made), Path())
    (axes, _) = unsaved[0][1].axes
    cells = [float(text.get_text()) for text in axes.texts]
    assert cells == pytest.approx(
        [(20 - abs(t0 - 300) / 100 + budget / 10 + 30) / 2 for t0 in (100, 300, 600) for budget in (1, 5)], abs=0.051
    )


@pytest.mark.parametrize("architectures", [["skip"], ["skip", "deep_decoder", "conv_decoder", "deep_decoder:matched"]])
def test_no_text_is_cut_off_or_small_or_over_another(architectures, unsaved):
    draw(run_of(records(architectures) + grid()), Path())
    assert len(unsaved) == 4
    for _, figure in unsaved:
        figure.draw_without_rendering()
        hidden = hidden_labels(figure)
        texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
        boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in texts]
        for text, box in boxes:
            assert figure.bbox.count_contains(box.corners()) == 4, f"cut off: {text}"
        for (a, box_a), (b, box_b) in combinations(boxes, 2):
            assert Bbox.intersection(box_a, box_b) is None, f"{a!r} over {b!r}"
        assert min(text.get_fontsize() for text in texts) >= 8


def hidden_labels(figure: Figure) -> set[Text]:
    """Labels of ticks that lie outside the limits, or on axes that are switched off."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden |= {t.label1 for t in axis.get_major_ticks() if not (axes.axison and low <= t.get_loc() <= high)}
    return hidden


def test_a_metric_of_which_less_is_better_says_so(unsaved):
    less = [
        replace(r, measures={"psnr": replace(r.measures["psnr"], unit="", higher_is_better=False)})
        for r in records(["skip"])
    ]
    draw(run_of(less), Path())
    assert [figure.axes[0].get_ylabel() for _, figure in unsaved] == ["PSNR, lower is better"] * 3


def judged(architectures: Sequence[str] = ("skip", "unet")) -> Run:
    """The same arms by two judges; by the second the arms of little PSNR are the better ones, up to a point."""
    made = []
    for i, r in enumerate(records(architectures)):
        psnr = r.measures["psnr"].values
        lpips = Measure("", False, "quality", [0.1 + 0.0004 * (v - 19.5) ** 2 + 0.0002 * (i % 3) for v in psnr])
        judges = [["psnr", "st_lpips"], ["psnr"], ["st_lpips"]][i % 3]
        chosen = judges if r.chosen else []
        made.append(replace(r, measures=r.measures | {"st_lpips": lpips}, judges=judges, chosen=chosen))
    made = run_of(made)
    made.judges.append("st_lpips")
    return made


def plane(unsaved: list[tuple[str, Figure]], made: Run) -> Figure:
    unsaved.clear()
    draw(made, Path())
    return dict(unsaved)["perception-distortion-inpaint"]


def test_the_perception_distortion_plane_holds_what_either_judge_chose(unsaved):
    made = judged()
    figure = plane(unsaved, made)
    axes = figure.axes[0]
    assert axes.get_xlim()[0] > axes.get_xlim()[1], "better to the left"
    shown = {(x, y) for line in axes.lines if line.get_marker() in "os^v" for x, y in line.get_xydata()}
    means = {
        r.arm: tuple(float(np.mean(r.measures[name].values)) for name in made.judges)
        for r in made.records if r.chosen and r.leak == "none"
    }  # fmt: skip
    assert shown and {(round(x, 9), round(y, 9)) for x, y in means.values()} >= {
        (round(x, 9), round(y, 9)) for x, y in shown
    }
    (circles,) = (line for line in axes.lines if line.get_markersize() == 8)
    front = [tuple(point) for point in circles.get_xydata()]
    beaten = [any(x > a and y < b for x, y in shown) for a, b in front]
    assert len(front) > 1 and not any(beaten)
    others = shown - {*front}
    assert all(any(a >= x and b <= y for a, b in front) for x, y in others), "what is not on the front is beaten"
    assert axes.get_legend() is None and "beyond the axes" in figure.get_suptitle()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "hollow: chosen by ST-LPIPS" in legend and len([t for t in legend if t[:1].isdigit()]) == len(front)
    assert not any("oracle" in text for text in legend)


def test_the_plane_has_readable_text(unsaved):
    figure = plane(unsaved, judged(["skip", "deep_decoder", "conv_decoder", "deep_decoder:matched"]))
    figure.draw_without_rendering()
    hidden = hidden_labels(figure)
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
    boxes = [text.get_window_extent().padded(-1) for text in texts]
    assert all(figure.bbox.count_contains(box.corners()) == 4 for box in boxes)
    assert all(Bbox.intersection(a, b) is None for a, b in combinations(boxes, 2))


def test_there_is_no_plane_of_one_judge_or_one_arm(unsaved):
    made = judged()
    made.judges.pop()
    draw(made, Path())
    assert not any(name.startswith("perception") for name, _ in unsaved)
    made = judged()
    made.records = [r for r in made.records if r.arm == "noise" and r.budget == 5]
    unsaved.clear()
    draw(made, Path())
    assert not any(name.startswith("perception") for name, _ in unsaved)


def test_a_chart_of_one_judge_shows_the_settings_that_it_chose(unsaved):
    made = run_of(records(["skip"]))
    other = [replace(r, judges=["st_lpips"], chosen=["st_lpips"]) for r in made.records if r.arm == "noise"]
    high = {"psnr": Measure("dB", True, "quality", [99.0] * ITEMS)}
    made.records += [replace(r, measures=high) for r in other]
    draw(made, Path())
    for _, figure in unsaved:
        assert all(np.max(line.get_ydata(), initial=0) < 99 for axes in figure.axes for line in axes.lines)


def test_pareto_front_by_hand():
    costs = [3.0, 1.0, 2.0, 2.0, 4.0, 1.0, 5.0]
    values = [20.0, 10.0, 15.0, 14.0, 20.0, 10.0, 21.0]
    # 3 is dearer than nothing better than 2; 4 costs more than 0 and is only as good; 5 equals 1, which came first.
    assert pareto_front(costs, values) == [1, 2, 0, 6]
    assert pareto_front(costs, [-value for value in values], higher_is_better=False) == [1, 2, 0, 6]
    assert pareto_front([1.0, 2.0], [5.0, 4.0]) == [0]
    assert pareto_front([], []) == []


def test_picture_grid_shows_every_pixel_as_a_sharp_square(tmp_path):
    pictures = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3), dtype=np.uint8)
    columns = {"target": pictures, "a heading of many words": pictures[::-1]}
    path = picture_grid(
        columns, {"a heading of many words": ["24.1 dB", "9.0 dB"]}, tmp_path / "grid-0.5", "two images"
    )
    assert path == tmp_path / "grid-0.5.png"
    assert ElementTree.parse(tmp_path / "grid-0.5.svg").getroot().tag.endswith("svg")
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB"))
    factor = 240 // 8  # a picture is at most 1.6 in wide
    expected = pictures[0].repeat(factor, axis=0).repeat(factor, axis=1)
    left = 8  # the gap, 0.05 in, on whole pixels
    windows = (shown[top : top + 240, left : left + 240] for top in range(shown.shape[0] - 240))
    assert any(np.array_equal(window, expected) for window in windows)


@pytest.mark.parametrize(
    ("columns", "captions", "message"),
    [
        ({}, None, "not"),
        ({"a": np.zeros((0, 4, 4, 3), np.uint8)}, None, "N > 0"),
        ({"a": np.zeros((1, 4, 4, 3))}, None, "uint8"),
        ({"a": np.zeros((1, 4, 4, 3), np.uint8), "b": np.zeros((2, 4, 4, 3), np.uint8)}, None, "'b'"),
        ({"a": np.zeros((1, 4, 4, 3), np.uint8)}, {"a": []}, "captions"),
        ({"a": np.zeros((1, 4, 4, 3), np.uint8)}, {"b": ["1 dB"]}, "captions"),
    ],
)
def test_picture_grid_refuses_what_does_not_fit(columns, captions, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        picture_grid(columns, captions, tmp_path / "grid", "title")


def test_figures_stand_on_measurement_alone_and_leave_pyplot_alone():
    code = "import sys, dipddpm.report.figures; print(*(n for n in sys.modules if 'dipddpm' in n or 'pyplot' in n))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(loaded) >= {"dipddpm", "dipddpm.report.figures"}
    assert all(name == "dipddpm" or name.startswith(("dipddpm.measure", "dipddpm.report")) for name in loaded)


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(self: Figure, path: Path, **_: object) -> None:
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw(run_of(grid()), tmp_path)
    assert list(tmp_path.iterdir()) == []
