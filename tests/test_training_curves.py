"""Training curves: the seed is the unit, what was not reached is censored, the figure shows what the table says."""

import dataclasses

import pandas as pd
import pytest
from planted import run

from dipddpm.measure.record import Measure, Record
from dipddpm.report.contrast import samples
from dipddpm.report.figures import draw
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write
from dipddpm.report.training_curves import curves, levels, points


def state(arm, part, updates, psnr, *, seed=0, prior=0.0, rate=0.5):
    """A state after ``updates``: two images around ``psnr``, ``rate`` seconds per update after ``prior`` seconds."""
    return Record(
        suite="training", group="training, task", arm=arm, role="training", budget=updates, axes={"part": part},
        measures={"psnr": Measure("dB", True, "quality", [psnr - 1, psnr + 1])},
        seconds={"prior": prior, "training": rate * updates}, memory={"training": 2**20}, repeat=seed,
        items=["image 0", "image 1"],
    )  # fmt: skip


def planted():
    """Three seeds. The plain run reaches 20 dB after 20, 40 and never; the treatment after 10 each, but 30 s later."""
    quality = {0: [10, 15, 20, 24], 1: [10, 15, 18, 21], 2: [10, 12, 14, 16]}
    records = []
    for seed, values in quality.items():
        for updates, psnr in zip((0, 10, 20, 40), values, strict=True):
            records.append(state("none", "plain", updates, psnr, seed=seed))
            records.append(state("residual-dip", "treatment", updates, psnr + 10, seed=seed, prior=30.0))
    return run(records)


def test_levels_are_censored_over_seeds():
    table = levels(planted()).set_index(["arm", "level"])
    none, dip = table.loc[("none", "20")], table.loc[("residual-dip", "20")]
    assert none["reached"] == pytest.approx(2 / 3) and none["median updates"] == 40
    assert none["restricted mean updates"] == pytest.approx((20 + 40 + 40) / 3)
    assert none["median seconds"] == 20 and dip["median updates"] == 0 and dip["median seconds"] == 30
    never = table.loc[("none", "25")]
    assert never["reached"] == 0 and pd.isna(never["median updates"]) and pd.isna(never["median seconds"])
    relative = table.xs("none at its end - 0.5", level="level")
    assert relative.loc["none", "value"] == pytest.approx((24 + 21 + 16) / 3 - 0.5)


def test_intervals_are_over_seeds_and_a_single_run_has_none():
    table = points(planted())
    assert (table["repeats"] == 3).all() and len(table) == 8
    last = table[(table["arm"] == "residual-dip") & (table["updates"] == 40)].iloc[0]
    assert last["psnr"] == pytest.approx((34 + 31 + 26) / 3) and last["seconds"] == 50 and last["psnr_low"] < 25


def test_the_report_pairs_arms_by_seed_and_says_what_was_not_reached(tmp_path):
    made = planted()
    assert samples(made.records) == [], "a training run is no competitor of the restoration arms"
    text = markdown(made, frame(made))
    assert "+10.00 ± 0.00" in text, "paired by seed, the planted difference has no spread"
    assert "> 40 (> 20.0 s)" in text and "No arms were run" not in text and "mean of 3 training runs" in text
    assert "residual-dip" in terminal(made, frame(made))
    written = [path.name for path in write(made, frame(made), tmp_path)]
    assert written == ["leaderboard.md", "leaderboard.csv", "training.csv", "training-levels.csv"]


def cells(text, arm):
    """{column: cell} of an arm in the table of curves."""
    header, row = (
        [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith(start)).split("|")]
        for start in ("| arm", f"| {arm}")
    )
    return dict(zip(header, row, strict=True))


def test_arms_are_compared_at_the_last_checkpoint_that_both_have():
    none = [state("none", "plain", u, 10 + u / 10, seed=s) for u in (0, 10, 40, 100) for s in (0, 1)]
    dip = [state("dip", "treatment", u, 13 + u / 10 + s, seed=s, prior=5.0) for u in (0, 10, 40) for s in (0, 1)]
    row = cells(markdown(run([*none, *dip]), pd.DataFrame()), "dip")
    assert row["Δ none at the end"].startswith("+3.50 ±") and row["Δ none at the end"].endswith("(at 40)")
    assert row["training s"] == "20.0 (at 40)" and row["100"] == ""
    assert "(at" not in " ".join(cells(markdown(run([*none, *dip]), pd.DataFrame()), "none").values())
    swapped = [dataclasses.replace(r, axes={"part": "control"}) for r in none] + [
        dataclasses.replace(r, axes={"part": "plain"}) for r in dip
    ]
    assert cells(markdown(run(swapped), pd.DataFrame()), "none")["Δ dip at the end"].endswith("(at 40)")


def test_repeats_are_paired_by_what_they_are():
    none = [state("none", "plain", 10, 10 + 5 * s, seed=s) for s in (0, 1, 2)]
    dip = [state("dip", "treatment", 10, 11 + 5 * s, seed=s) for s in (2, 1)]  # recorded the other way round
    made = run([*none, *dip])
    assert [curve.repeats for curve in curves(made)["training, task"]] == [(0, 1, 2), (2, 1)]
    assert cells(markdown(made, pd.DataFrame()), "dip")["Δ none at the end"] == "+1.00 ± 0.00"
    apart = run([none[0], dip[0]])
    assert cells(markdown(apart, pd.DataFrame()), "dip")["Δ none at the end"] == ""


def test_seconds_to_a_level_that_half_reached_are_those_of_that_half():
    made = run([state("none", "plain", 10, psnr, seed=s) for s, psnr in enumerate((30, 10))])
    row = levels(made).set_index("level").loc["20"]
    assert row["median updates"] == 10 and row["median seconds"] == 5


def test_one_seed_claims_no_interval():
    text = markdown(run([state("none", "plain", u, u) for u in (0, 10)]), pd.DataFrame())
    assert "no interval: the run is the unit" in text and "±" not in text.split("training run")[1]


def test_populations_stand_at_the_end_under_titles_that_all_repeats_share():
    def judged(updates, kid, seed, n=64):
        measures = {f"KID-eyes@{n}-train": Measure("", False, "quality", [kid], interval=[kid - 0.1, kid + 0.2])}
        plain = state("none", "plain", updates, 20, seed=seed)
        return dataclasses.replace(plain, measures={**plain.measures, **measures})

    one = run([judged(0, 2.0, 0), judged(10, 1.0, 0)])
    text = markdown(one, pd.DataFrame())
    assert "KID-eyes@64-train at the end" in text and "1 [0.9, 1.2]" in text and "lower is better" in text
    assert points(one)["KID-eyes@64-train"].tolist() == [2.0, 1.0]
    several = run([judged(10, 1.0, 0), judged(10, 3.0, 1)])
    assert "2 ± 12.7" in markdown(several, pd.DataFrame()) and "[0.9, 1.2]" not in markdown(several, pd.DataFrame())
    mixed = run([judged(10, 1.0, 0), judged(10, 3.0, 1, n=32)])
    assert "KID" not in markdown(mixed, pd.DataFrame()) and "KID-eyes@64-train" not in points(mixed)


def test_checkpoints_that_a_seed_lacks_are_left_out():
    made = run([state("none", "plain", u, u, seed=s) for s, u in ((0, 0), (0, 10), (1, 0))])
    assert curves(made)["training, task"][0].updates.tolist() == [0]


def test_the_figure_is_drawn_twice_alike(tmp_path):
    (first,), (second,) = (draw(planted(), tmp_path / name) for name in "ab")
    assert first.name == "training-task-training-curves.png" and first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".svg").read_bytes() == second.with_suffix(".svg").read_bytes()
    assert f"({first.name})" in markdown(planted(), pd.DataFrame(), [first.relative_to(tmp_path / "a")])
