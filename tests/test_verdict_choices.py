"""Which records meet in a contrast, what a verdict makes of missing and open rivals, and what a limit itself is."""

from dataclasses import replace

import numpy as np
import pytest
from planted import GRID, experiment, record, run
from test_paces import WIDE, close_call

from dipddpm.measure.record import Measure
from dipddpm.measure.statistics import LEVEL, mean_interval
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import (
    best_control,
    best_part,
    comparator_at_equal_budget,
    contrast,
    fill_intervals,
    paired,
    samples,
)
from dipddpm.report.verdict import break_even, decide, judge_word, lost, verdict, won

X = np.arange(16.0)


# ---- contrasts -----------------------------------------------------------------------------------------------------


def test_repeats_of_other_images_are_not_put_together():
    first, second = (record("noise", "control", X, repeat=r) for r in (0, 1))
    with pytest.raises(ValueError, match="measured on different images"):
        samples([first, replace(second, items=[f"other {i}" for i in range(16)])])


def with_counts(values=X, fd=3.0, **options):
    made = record("noise", "control", values, **options)
    more = {
        "nfe": Measure("", False, "structure", [5]),
        "fd": Measure("", False, "quality", [fd], interval=[fd - 1, fd + 2]),
    }
    return replace(made, measures=made.measures | more)


def test_a_sample_has_values_per_image_and_populations_apart():
    (one,) = samples([with_counts(np.arange(16), fd=3.0), with_counts(np.arange(16), fd=5.0, repeat=1)])
    assert set(one.values) == {"psnr", "ssim"} and one.values["psnr"].shape == (2, 16)
    assert all(values.dtype == float for values in one.values.values())
    assert one.populations == {"fd": (4.0, 3.0, 6.0)}, "value and both ends, each a mean over repeats"
    assert one.diverged == 0


def test_a_population_that_one_repeat_lacks_is_left_out():
    without = record("noise", "control", X, repeat=1)
    (one,) = samples([with_counts(), replace(without, diverged=2)])
    assert one.populations == {} and one.diverged == 2


def test_whole_numbers_become_floats():
    made = record("noise", "control", X)
    whole = replace(made, measures={"psnr": Measure("dB", True, "quality", list(range(16)))})
    (one,) = samples([whole])
    assert one.values["psnr"].dtype == float


def crops(repeat=0):
    """Three crops of one photograph and one of another."""
    return record("noise", "control", [1.0, 2.0, 3.0, 10.0], repeat=repeat, clusters=["a", "a", "a", "b"])


def test_the_mean_is_over_photographs_and_so_is_the_interval():
    (one,) = samples([crops()])
    assert one.clusters("psnr").tolist() == [2.0, 10.0] and one.mean("psnr") == 6
    found = one.interval("psnr")
    assert found.n == 2 and found.mean == 6 and one.interval("psnr") is found, "computed once"


def test_intervals_of_many_samples_are_those_of_each():
    rng = np.random.default_rng(0)
    made = [record(f"a{i}", "control", rng.normal(20, 1, n)) for i, n in enumerate((16, 16, 12))]
    many = samples(made)
    fill_intervals([*many, *samples([replace(made[0], arm="b", measures={})])], "psnr")
    for sample in many:
        expected = mean_interval(sample.values["psnr"])
        assert sample._intervals["psnr"] == sample.interval("psnr") == expected
    kept = many[0].interval("psnr")
    fill_intervals(many, "psnr")
    assert many[0].interval("psnr") is kept


@pytest.mark.parametrize("which", [0, 1])
def test_whichever_of_the_two_diverged_there_is_no_contrast(which):
    pair = [record("dip a 10", "treatment", X, family="a", dip=1.0), record("noise", "control", X)]
    pair[which] = replace(pair[which], diverged=1)
    one, other = samples(pair)
    assert paired(one, other, "psnr") is None and contrast(one, other, "psnr") is None


def test_a_rival_in_the_setting_of_the_other_judge_is_no_rival_of_this_one():
    treatment = record("dip a 100", "treatment", X, lpips=X, family="a", dip=1.0, iterations=100)
    theirs = {"judges": ["st_lpips"]}
    part = record("dip a 100 alone", "part", X, lpips=X, family="a", dip=1.0, iterations=100, budget=0, **theirs)
    every = samples([treatment, part, record("noise", "control", X, lpips=X, **theirs)])
    assert best_part(every[0], every, "psnr") is None and best_part(every[0], every, "st_lpips") is every[1]
    assert best_control(every[0], every, "psnr") is None
    assert comparator_at_equal_budget(every[0], every, "noise", "psnr") is None
    assert comparator_at_equal_budget(every[0], every, "noise", "st_lpips") is every[2]


def test_a_rival_of_the_very_same_cost_is_affordable():
    every = samples([record("dip a 10", "treatment", X, family="a"), record("noise", "control", X)])
    assert every[0].cost == every[1].cost and best_control(every[0], every, "psnr") is every[1]


# ---- the rule ------------------------------------------------------------------------------------------------------


def test_a_p_at_its_level_and_an_effect_of_nothing_decide_nothing():
    def of(function, effect, p):
        return bool(function(np.array(effect), np.array(p)))

    assert of(won, 0.1, 0.0499) and not of(won, 0.1, LEVEL) and not of(won, 0.0, 0.001)
    assert of(lost, -0.1, 0.0249) and not of(lost, -0.1, LEVEL / 2) and not of(lost, 0.0, 0.001)


def test_one_experiment_that_pays_makes_no_other_pay():
    effects = np.stack([np.ones((2, 2)), np.zeros((2, 2))])
    p = np.full((2, 2, 2), 0.001)
    assert decide(effects, p, ["PSNR", "perception"]).tolist() == ["pays", "cannot tell"]
    assert decide(effects[::-1], p, ["PSNR", "perception"]).tolist() == ["cannot tell", "pays"]


def test_the_second_judge_is_perception_and_a_third_is_named():
    made = run([record("noise", "control", X, lpips=X)], judges=["psnr", "st_lpips", "ssim"])
    assert [judge_word(made, judge) for judge in made.judges] == ["PSNR", "perception", "SSIM"]


# ---- verdicts ------------------------------------------------------------------------------------------------------


def test_a_verdict_that_nothing_leaves_open_could_be_no_other():
    found = verdict(Comparisons(experiment(+2.0, +2.0)), "task")
    assert found.could_be == ("pays",) and found.open == ()


def test_every_choice_of_an_open_rival_is_judged():
    found = verdict(Comparisons(close_call(WIDE)), "task")
    assert found.outcome == "pays" and found.could_be[0] == "pays"
    assert set(found.could_be) == {"pays", "does not pay", "cannot tell"}
    first, second = found.open
    assert [(o.judge, o.role) for o in (first, second)] == [("psnr", "control"), ("st_lpips", "control")]
    assert [s.record.budget for s in first.best] == [105, 5]


def test_an_open_rival_of_one_judge_does_not_stand_in_for_another():
    """It wins by PSNR alone, so that the other judge keeps its own rival and is won."""
    made = close_call(WIDE)
    for i, r in enumerate(made.records):
        if r.arm == "noise" and r.budget == 105:
            worse = replace(r.measures["st_lpips"], values=[v + 3 for v in r.measures["st_lpips"].values])
            made.records[i] = replace(r, measures=r.measures | {"st_lpips": worse})
    found = verdict(Comparisons(made), "task")
    assert set(found.could_be) == {"pays", "cannot tell"}


def diverged(made, role):
    for i, r in enumerate(made.records):
        if r.role == role and (role != "treatment" or r.arm == "dip net0 100"):
            made.records[i] = replace(r, diverged=1)
    return made


def test_a_group_whose_treatment_diverged_has_a_verdict_that_tells_nothing():
    found = verdict(Comparisons(diverged(experiment(+2.0, +2.0), "treatment")), "task")
    assert found.outcome == "cannot tell" and found.n == 16 and found.open == () and found.break_even is None
    assert all(not any(t.contrasts.values()) for t in found.tested)


def test_a_group_whose_rivals_diverged_has_one_too():
    found = verdict(Comparisons(diverged(diverged(experiment(+2.0, +2.0), "control"), "part")), "task")
    assert found is not None and found.outcome == "cannot tell" and found.n == 16


def test_a_judge_without_validation_scores_is_missing_and_the_other_speaks():
    made = experiment(+2.0, +2.0)
    for missing, present in (("st_lpips", "psnr"), ("psnr", "st_lpips")):
        records = [
            replace(r, validation={name: score for name, score in r.validation.items() if name != missing})
            for r in made.records
        ]
        found = verdict(Comparisons(replace(made, records=records)), "task")
        assert [t.judge for t in found.tested] == [present]
        assert found.outcome == f"pays in {'PSNR' if present == 'psnr' else 'perception'} alone"
        assert (found.break_even is None) == (missing == "psnr"), "it is by the primary judge"


# ---- break-even ----------------------------------------------------------------------------------------------------


def against_noise(levels, treated, **options):
    noise = [record("noise", "control", X * 0 + level, budget=b) for b, level in zip(GRID, levels, strict=True)]
    treatment = record("dip a 100", "treatment", X * 0 + treated, family="a", dip=2.0, iterations=100, budget=1)
    made = run([*noise, treatment, *options.get("more", ())])
    every = samples(made.records)
    at = next(i for i, s in enumerate(every) if s.record.role == "treatment")
    return break_even(every[at], every, made)


def test_the_first_budget_that_gets_as_far_counts():
    found = against_noise((18, 23, 24), 23)
    assert found.reached and found.iterations == pytest.approx((5 - 1) / 2), "as far is far enough"


def test_where_noise_gets_as_far_at_once_nothing_could_be_afforded():
    assert against_noise((25, 26, 27), 23).iterations == 0.0


def test_noise_in_the_setting_of_another_judge_does_not_count():
    other = replace(record("noise", "control", X * 0 + 30, budget=1), judges=["st_lpips"])
    assert against_noise((18, 23, 24), 23, more=[other]).iterations == pytest.approx(2)
