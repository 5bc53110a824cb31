"""The section on populations: floor and leaks marked, differences with intervals, equal seconds charged in full."""

import dataclasses
import math

import pytest
import torch
from planted import run

from dipddpm.errors import InputError
from dipddpm.experiments.generation_arms import generation_cells
from dipddpm.experiments.profiles import PROFILES, profile
from dipddpm.measure.gate.baseline import entries_of
from dipddpm.measure.record import Measure, Record
from dipddpm.population.scores import distance_from, floor_scores, scores, spread_within
from dipddpm.report import populations
from dipddpm.report.agreed_names import FLOOR, NOT_JUDGED
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write

KID = "KID-embedded64@96-train"


def population(arm, budget, kid, dip=0.0, leak="none", seconds=True, half=0.1):
    measures = {
        KID: Measure("", False, "quality", [kid], interval=[kid - half, kid + half]),
        "recall": Measure("", True, "quality", [0.5]),
        "nfe": Measure("", False, "structure", [budget]),
    }
    cost = {"dip": dip, "diffusion": 0.01 * budget} if seconds else {}
    return Record("generation", "photos", arm, "population", budget, {}, measures, cost, leak=leak, items=["a"])


PLANTED = [
    population("noise", 5, 2.0),
    population("noise", 20, 1.0),
    population("dip", 5, 1.5, dip=0.2),
    population("free", 5, 1.0),
    population("oracle", 5, 0.2, leak="clean-target"),
    population("real", 0, 0.05, leak="clean-target", seconds=False),
]


def section(records):
    return "\n\n".join(populations.sections(run(records)))


def row(text, name, column):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    header = next(line for line in lines if column in line)
    return next(line for line in lines[lines.index(header) :] if line[0] == name)[header.index(column)]


def test_a_dip_is_better_at_equal_evaluations_and_worse_once_its_seconds_buy_noise_more_of_them():
    text = section(PLANTED)
    at_equal_nfe = row(text, "dip", "Δ KID, equal NFE")
    at_equal_seconds = row(text, "dip", "Δ KID, equal seconds")
    assert at_equal_nfe.startswith("-0.5 [-0.641, -0.359] better (5 NFE)")
    assert at_equal_seconds.startswith("+0.5 [+0.359, +0.641] worse (20 NFE)")
    assert row(text, "free", "Δ KID, equal seconds").endswith("better (5 NFE)")


def test_a_table_says_once_what_all_its_columns_share_and_every_title_where_they_differ():
    text = section(PLANTED)
    assert "FD is FD-embedded64@96-train" in text and "| KID " in text and "| recall" in text
    other = population("noise", 5, 2.0)
    mixed = {name.replace("@96", "@48"): measure for name, measure in other.measures.items()}
    both = section([*PLANTED, dataclasses.replace(other, measures=mixed)])
    assert "| KID " in both and "KID-embedded64@48" in both


def test_what_leaks_is_marked_and_enters_no_difference():
    table, against = section(PLANTED).split("Against a start from noise")
    assert "oracle (leaks)" in table and "| real " in table
    assert "oracle" not in against and "real" not in against and "| noise" not in against


def test_a_difference_within_chance_is_none():
    close = [population("noise", 5, 1.0), population("dip", 5, 1.05, dip=0.1)]
    assert "no difference" in row(section(close), "dip", "Δ KID, equal NFE")
    dear = [population("noise", 500, 1.0), population("dip", 5, 1.05)]
    assert row(section(dear), "dip", "Δ KID, equal seconds") == "no rival as cheap"


def test_repeats_are_one_row_with_an_interval_over_them():
    seeds = [
        dataclasses.replace(population(arm, budget, kid + seed, dip=dip), repeat=seed)
        for seed in (0, 1, 2)
        for arm, budget, kid, dip in (("noise", 5, 2.0, 0.0), ("noise", 20, 1.0, 0.0), ("dip", 5, 1.5, 0.2))
    ]
    planted = run(seeds)
    text = section(seeds)
    table, against = text.split("Against a start from noise")
    assert sum(line.startswith("| dip") for line in table.splitlines()) == 1
    assert row(table, "dip", "KID") == "2.5 [0.0159, 4.98]", "Student's t over 1.5, 2.5, 3.5"
    assert row(table, "dip", "recall") == "0.5 [0.5, 0.5]"
    assert "over them (Student's t)" in table and "over repeats, paired" in against
    paired = row(against, "dip", "Δ KID, equal NFE")
    assert paired == "-0.5 [-0.5, -0.5] better (5 NFE)", "paired by repeat, the planted difference has no spread"
    assert row(against, "dip", "Δ KID, equal seconds") == "+0.5 [+0.5, +0.5] worse (20 NFE)"
    assert terminal(planted, frame(planted)).count("dip ") == 1
    assert len(populations.frame(planted)) == 9, "the raw table has every repeat"


def test_repeats_are_paired_by_what_they_are():
    noise = [dataclasses.replace(population("noise", 5, 1.0 + 5 * seed), repeat=seed) for seed in (0, 1)]
    dip = dataclasses.replace(population("dip", 5, 5.9), repeat=1)
    assert row(section([*noise, dip]), "dip", "Δ KID, equal NFE").startswith("-0.1 [-0.241, +0.0414] no difference")
    apart = dataclasses.replace(dip, repeat=7)
    assert row(section([*noise, apart]), "dip", "Δ KID, equal NFE") == "no rival as cheap"


def test_populations_stand_in_the_report_and_in_a_table_of_their_own(tmp_path):
    planted = run([*PLANTED])
    table = frame(planted)
    assert table.empty and "## generation, photos" in markdown(planted, table)
    assert "recall" not in terminal(planted, table) and "generation, photos" in terminal(planted, table)
    paths = write(planted, table, tmp_path)
    assert [path.name for path in paths] == ["leaderboard.md", "leaderboard.csv", "populations.csv"]
    rows = populations.frame(planted)
    assert len(rows) == 6 and math.isclose(rows.loc[2, "seconds"], 0.25) and rows.loc[0, f"{KID}_low"] == 1.9


def floored(record, floor, largest, part="control"):
    """The record with the floor of its KID, the mean and the largest of its draws."""
    measure = Measure("", False, "quality", [floor], interval=[0.0, largest])
    return dataclasses.replace(record, measures={**record.measures, FLOOR + KID: measure}, axes={"part": part})


def test_the_floor_stands_beside_every_value_and_is_no_column_of_its_own():
    text = section([floored(r, 0.04, 0.05) for r in PLANTED])
    table = text.split("Against a start from noise")[0]
    assert row(table, "dip", "KID") == "1.5 [1.4, 1.6] (floor 0.04)" and row(table, "noise", "KID").endswith("0.04)")
    assert row(table, "dip", "recall") == "0.5" and FLOOR not in text and "*Floor*: what real images score" in text
    assert "cannot tell" not in text, "every difference is larger"
    assert "Floor" not in section(PLANTED)


def test_differences_that_are_not_above_the_floor_are_said_to_tell_nothing():
    parts = {"dip": "treatment", "oracle": "bound", "real": "bound"}
    near = [floored(r, 0.1, 0.5, parts.get(r.arm, "control")) for r in PLANTED]
    text = section(near)
    assert row(text, "dip", "Δ KID, equal NFE").startswith("-0.5 [-0.641, -0.359] cannot tell")
    assert row(text, "free", "Δ KID, equal NFE").endswith("better (5 NFE)"), "1 above, and the floor is 0.5 at most"
    assert row(text, "dip", "Δ KID, the best control") == "+0.5 [+0.359, +0.641] cannot tell (free, 5 NFE)"
    assert "**2 of 4 differences from noise are not above the floor (KID 0.5).**" in text
    assert (
        "**This table cannot tell a treatment from the best control: no difference is above the floor (KID 0.5)" in text
    )
    far = section([floored(r, 0.1, 2.0, parts.get(r.arm, "control")) for r in PLANTED])
    assert "**This table cannot tell an arm from noise: no difference is above the floor (KID 2).**" in far
    planted = run([floored(r, 0.1, 2.0) for r in PLANTED])
    assert "This table cannot tell an arm from noise" in terminal(planted, frame(planted))


def test_a_dip_is_held_against_the_best_control_that_costs_no_more():
    text = section([floored(r, 0.0, 0.01, {"dip": "treatment"}.get(r.arm, "control")) for r in PLANTED])
    assert row(text, "dip", "Δ KID, the best control") == "+0.5 [+0.359, +0.641] worse (free, 5 NFE)"
    assert row(text, "free", "Δ KID, the best control") == "", "controls are not compared with themselves"
    dear = [population("noise", 5, 2.0), population("free", 500, 1.0), population("dip", 5, 1.5)]
    alone = section([floored(r, 0.0, 0.01, {"dip": "treatment"}.get(r.arm, "control")) for r in dear])
    assert row(alone, "dip", "Δ KID, the best control") == "no rival as cheap"


def test_where_there_is_no_reference_the_report_says_why(tmp_path):
    why = [Record("generation", "photos", "dip", "population", n, {NOT_JUDGED: "All are cats"}, {}, {}) for n in (5, 9)]
    planted = run(why)
    text = markdown(planted, frame(planted))
    assert "## generation, photos\n\nNo population was judged. All are cats.\n" in text and "|" not in text
    assert "No population was judged. All are cats." in terminal(planted, frame(planted))
    assert entries_of(planted) == {} and len(write(planted, frame(planted), tmp_path)) == 3


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_generates_the_floor_the_controls_and_noise_for_the_price_of_a_dip(name):
    p = profile(name).generation
    cells = generation_cells(p)
    if name == "quick":
        assert not cells and "populations from priors" in profile(name).elsewhere
        return
    assert len(set(cells)) == len(cells)
    assert {arm.prior.name for arm, *_ in cells} >= {
        "noise",
        "dip",
        "blur",
        "mean_colour",
        "shuffled",
        "untrained",
        "oracle",
    }
    assert {nfe for arm, nfe, _ in cells if arm.prior.name == "noise"} >= {
        *p.budgets,
        *p.noise_budgets,
    }
    assert any(arm.prior.name == "oracle" and nfe == 0 for arm, nfe, _ in cells)
    assert p.population > 64, "no Frechet distance with 64 features"


def test_scores_have_titles_intervals_and_a_limit_once_there_are_images_enough():
    rng = torch.Generator().manual_seed(0)
    real, held_out, copies = (torch.randn(n, 8, generator=rng) for n in (300, 200, 60))

    class Eyes:
        name, gives_fid = "eyes", False

    assert scores(copies[:2], held_out, copies, Eyes(), "train", only=["kid"])["KID-eyes@2-train"].interval is None
    few = scores(copies, held_out, copies, Eyes(), "train")
    assert few["memorisation-eyes@60-train"].value == 1, "every sample is a photograph that a prior was made of"
    assert few["FD-eyes@60-train"].interval and "FD∞-eyes-train" in few
    assert "FD-eyes@6-train" not in scores(copies[:6], held_out, copies, Eyes(), "train"), "fewer images than features"
    shifted = scores(real + 1, held_out, copies, Eyes(), "train")
    low, high = shifted["FD∞-eyes-train"].interval
    assert low < 8 < high, "the closed form of two Gaussians a shift of 1 apart in 8 dimensions"
    assert sum(title.startswith("FD-eyes@") for title in shifted) == 6


class Width:
    name, gives_fid = "eyes", False


def test_the_floor_of_one_distribution_is_near_0_and_is_drawn_from_sets_as_large():
    rng = torch.Generator().manual_seed(0)
    real, reference = torch.randn(80, 8, generator=rng), torch.randn(120, 8, generator=rng)
    names = [f"a{i}" for i in range(80)], [f"b{i}" for i in range(120)]
    floor = floor_scores(real, reference, names, Width(), "train")
    assert set(floor) == {
        t for t in scores(real, reference, real, Width(), "train") if "memor" not in t and "near" not in t
    }
    low, high = floor["KID-eyes@80-train"].interval
    first = scores(real, reference, real, Width(), "train", only=["kid"])["KID-eyes@80-train"].value
    assert low < floor["KID-eyes@80-train"].value < high and low <= first <= high and abs(high) < 0.1
    assert floor_scores(real, reference, names, Width(), "train") == floor, "the same at every call"
    assert set(floor_scores(real, reference, names, Width(), "train", only=["kid"])) == {"KID-eyes@80-train"}


def test_the_floor_between_photographs_is_how_much_photographs_differ():
    """Two photographs whose images are alike: the floor is their distance, and not that of images drawn from both."""
    rng = torch.Generator().manual_seed(0)
    light, dark = (torch.randn(60, 8, generator=rng) + shift for shift in (3, -3))
    apart = floor_scores(light, dark, (["light"] * 60, ["dark"] * 60), Width(), "train", only=["kid"])
    mixed = floor_scores(
        light, dark, tuple([f"{s}{i}" for i in range(60)] for s in "ab"), Width(), "train", only=["kid"]
    )
    (kid,), (of_mixed,) = apart.values(), mixed.values()
    assert kid.interval[0] == pytest.approx(kid.interval[1], rel=1e-6) and kid.value > 10 * abs(of_mixed.interval[0])
    with pytest.raises(InputError, match="samples and reference share the photograph 'dark'"):
        floor_scores(light, dark, (["dark"] * 60, ["dark"] * 60), Width(), "train")


def test_how_much_of_a_sample_its_prior_decides():
    rng = torch.Generator().manual_seed(0)
    priors, noise = torch.randn(200, 8, generator=rng), torch.randn(200, 8, generator=rng)
    assert spread_within(priors, priors) == 0 and distance_from(priors, priors) == 0
    assert spread_within(priors, noise) == pytest.approx(1, abs=0.05)
    assert distance_from(noise, priors) == pytest.approx(1, abs=0.05)
