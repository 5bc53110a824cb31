"""Training curves: the seed is the unit, what was not reached is censored, the figure shows what the table says."""

import dataclasses

import pandas as pd
import pytest
from planted import run

from dipddpm.measure.record import Measure, Record
from dipddpm.report.agreed_names import FLOOR, NOT_JUDGED
from dipddpm.report.contrast import samples
from dipddpm.report.figures import draw
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write
from dipddpm.report.training_curves import against_own_prior, curves, levels, points


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


def beside(arm, part, given, use, quality, *, floor=None):
    """The records of an arm whose mean quality after 0, 10 and 20 updates is given for each seed."""
    made = []
    for seed, values in enumerate(quality):
        for updates, psnr in zip((0, 10, 20), values, strict=True):
            of = state(arm, part, updates, psnr, seed=seed)
            more = {}
            if floor:
                more = {KID: Measure("", False, "quality", [floor[0]], interval=[0, 9]),
                        FLOOR + KID: Measure("", False, "quality", [floor[1]], interval=[0, floor[2]])}  # fmt: skip
            axes = {"part": part, "given": given, "use": use}
            made.append(dataclasses.replace(of, axes=axes, measures={**of.measures, **more}))
    return made


KID = "KID-eyes@64-train"
PRIORS = [
    *beside("none", "plain", "", "trained", [(10, 15, 20)]),
    *beside("none-start-free", "control", "free", "start", [(20, 25, 27)]),
    *beside("dip-alone", "prior", "dip", "alone", [(22, 22, 22)]),
    *beside("free-alone", "prior", "free", "alone", [(24, 24, 24)]),
]


def test_no_level_lies_below_the_best_prior_alone():
    dip = beside("residual-dip", "treatment", "dip", "trained", [(10, 24.5, 25.2)])
    table = levels(run([*PRIORS, *dip])).set_index(["arm", "level"])
    names = ["24.00 (free-alone)", "24.50 (free-alone + 0.5)", "25.00 (free-alone + 1)", "26.00 (free-alone + 2)"]
    assert list(table.loc["residual-dip"].index) == names and table["value"].min() == 24 and table["above"].all()
    assert table.loc["residual-dip", "median updates"].tolist()[:3] == [10, 10, 20]
    assert pd.isna(table.loc[("residual-dip", names[3]), "median updates"])
    assert "free-alone" not in set(table.index.get_level_values("arm")), "it is there at once"
    text = markdown(run([*PRIORS, *dip]), pd.DataFrame())
    assert "Levels begin at the best prior alone" in text and "| 24.00 (free-alone)" in text
    better = beside("none", "plain", "", "trained", [(10, 15, 26)])
    assert "none at its end - 0.5" in set(levels(run([*PRIORS[3:], *better]))["level"]), "it lies above"
    sibling = [dataclasses.replace(r, group="start by training, task", arm=f"from {r.arm}") for r in dip]
    assert levels(run([*PRIORS, *sibling])).set_index("arm").loc["from residual-dip", "value"].min() == 24


def test_the_report_says_whether_a_network_passes_its_own_prior():
    below = beside("residual-dip", "treatment", "dip", "trained", [(10, 15, 21)])
    weights = beside("weights-dip", "treatment", "", "trained", [(10, 15, 30)])
    text = markdown(run([*PRIORS, *below, *weights]), pd.DataFrame())
    said = "**No learned arm passes its own prior** (at the end, in dB: residual-dip -1.00 against dip-alone)."
    assert said in text, "weights are given no prior"
    assert (
        "weights of none at its end restore at 20.00 dB from noise, and at 27.00 dB when entered from a prior" in text
    )
    above = beside("concat-dip", "treatment", "dip", "trained", [(10, 15, 23)])
    text = markdown(run([*PRIORS, *below, *above]), pd.DataFrame())
    assert (
        "**Better than their own prior alone: concat-dip** (" in text and "concat-dip +1.00 against dip-alone" in text
    )


def test_over_several_runs_a_network_passes_its_prior_where_the_interval_does():
    alone = beside("dip-alone", "prior", "dip", "alone", [(22, 22, 22)] * 3)
    sure = beside("sure", "treatment", "dip", "trained", [(10, 15, 23), (10, 15, 23.1), (10, 15, 22.9)])
    lucky = beside("lucky", "treatment", "dip", "trained", [(10, 15, 28), (10, 15, 22), (10, 15, 21)])
    text = markdown(run([*alone, *sure, *lucky]), pd.DataFrame())
    assert "**Better than their own prior alone: sure** (" in text and "lucky +1.67 ± " in text
    own = against_own_prior(curves(run([*alone, *sure[3:]]))["training, task"], "psnr")
    assert own["sure"][1] == pytest.approx([1.1, 0.9]), "paired by repeat"


def test_a_prior_alone_is_a_constant_row_that_costs_no_training(tmp_path):
    alone = [dataclasses.replace(r, seconds={"prior": 0.0, "training": 0.0}) for r in PRIORS if r.arm == "dip-alone"]
    none = [r for r in PRIORS if r.arm == "none"]
    row = cells(markdown(run([*none, *alone]), pd.DataFrame()), "dip-alone")
    assert row["0"] == row["20"] == "22.00" and row["training s"] == "0.0" and row["Δ none at the end"] == "+2.00"
    assert [path.suffix for path in draw(run([*none, *alone]), tmp_path)] == [".png"]


def test_the_floor_stands_beside_the_population_and_hides_what_it_may():
    near = [*beside("none", "plain", "", "trained", [(10, 15, 20)], floor=(1.0, 0.2, 0.5)),
            *beside("residual-dip", "treatment", "dip", "trained", [(10, 15, 20)], floor=(1.4, 0.2, 0.5))]  # fmt: skip
    text = markdown(run(near), pd.DataFrame())
    assert "1.4 [0, 9] (floor 0.2)" in text and "Floor: what real images score" in text
    assert f"{KID} cannot tell the trained networks apart: they differ by up to 0.4, real images" in text
    table = points(run(near))
    assert table[f"{FLOOR}{KID}"].tolist() == [0.2] * 6 and f"{FLOOR}{KID}_low" not in table
    far = [*near, *beside("x", "control", "", "trained", [(10, 15, 20)], floor=(3.0, 0.2, 0.5))]
    assert "cannot tell" not in markdown(run(far), pd.DataFrame())


def test_the_report_says_why_nothing_was_judged_as_a_population():
    none = [dataclasses.replace(r, axes={**r.axes, NOT_JUDGED: "all are cats"}) for r in PRIORS[:3]]
    assert markdown(run(none), pd.DataFrame()).count("not judged as a population: all are cats.") == 1


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
