"""Contrasts and verdicts on planted data: a win, a loss, nothing at all, and every unfair comparison refused."""

import numpy as np
import pytest
from planted import GRID, experiment, record, run

from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import best_control, best_part, comparator_at_equal_budget, contrast, samples
from dipddpm.report.verdict import break_even, sentence, verdict


def judge(made):
    return verdict(Comparisons(made), "task")


def against_best_control(sample, others):
    return contrast(sample, best_control(sample, others, "psnr"), "psnr")


def against_part(sample, others):
    return contrast(sample, best_part(sample, others, "psnr"), "psnr")


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_win_pays(seed):
    found = judge(made := experiment(+2.0, +2.0, seed=seed))
    assert found.outcome == "pays" and found.best.record.arm == "dip net0 100"
    assert 1 < found.control.difference.mean < 3
    assert "**The DIP start pays.**" in sentence(found, made)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_loss_does_not_pay(seed):
    found = judge(made := experiment(-2.0, 0.0, seed=seed))
    assert found.outcome == "does not pay" and found.control.difference.high < 0
    assert "does not pay" in sentence(found, made)


@pytest.mark.parametrize("seed", range(5))
def test_a_win_that_the_prior_alone_has_too_does_not_pay(seed):
    assert judge(experiment(+2.0, -2.0, seed=seed)).outcome == "does not pay"


def test_false_alarms_on_pure_noise_are_rare():
    outcomes = [judge(experiment(0.0, 0.0, seed=seed)).outcome for seed in range(200)]
    assert np.mean([outcome != "inconclusive" for outcome in outcomes]) <= 0.07


def test_a_sentence_carries_effect_interval_n_setting_and_control():
    made = experiment(+2.0, +2.0)
    text = sentence(judge(made), made)
    named = ("dip net0 100 with 5 NFE", "best cheap control", "its prior alone")
    for part in ("dB [", "n = 16 images", *named, "iterations"):
        assert part in text
    assert sentence(None, made).startswith("**No verdict**")


def by_arm(made):
    return {(s.record.arm, s.record.budget): s for s in samples(made.records)}


def test_the_control_is_the_best_affordable_by_validation_not_by_test():
    x = np.arange(16.0)
    made = run(
        [
            record("dip a 10", "treatment", x + 20, family="a", dip=0.1, iterations=10),
            record("lucky", "control", x + 30, budget=1, validation=15.0),
            record("good", "control", x + 22, budget=5, validation=25.0),
            record("dear", "control", x + 40, budget=100, validation=40.0),
        ]
    )
    every = samples(made.records)
    found = against_best_control(every[0], every)
    assert found.rival.record.arm == "good" and found.difference.mean == pytest.approx(-2)


def part_of(*alone):
    """Which of some parts a treatment of family a of 1.05 s is held against; (arm, seconds, validation) each."""
    x = np.arange(16.0)
    parts = [
        record(arm, "part", x + i, family=arm.split()[1], dip=dip, iterations=100, budget=0, validation=validation)
        for i, (arm, dip, validation) in enumerate(alone)
    ]
    every = samples(run([record("dip a 100", "treatment", x, family="a", dip=1.0, iterations=100), *parts]).records)
    found = against_part(every[0], every)
    return found and found.rival.record.arm


def test_the_part_is_the_best_of_its_family_by_validation_that_costs_no_more():
    honest = [("dip a 100 alone", 1.0, 20.0), ("dip a 50 alone", 0.5, 22.0), ("dip a 100 ema alone", 1.0, 23.0)]
    assert part_of(*honest) == "dip a 100 ema alone"
    assert part_of(*honest[:2]) == "dip a 50 alone", "a cheaper duration may be the better one"
    assert part_of(*honest, ("dip a 400 alone", 4.0, 29.0), ("dip b 100 alone", 1.0, 29.0)) == "dip a 100 ema alone"
    assert part_of(("dip b 100 alone", 1.0, 20.0)) is None


def test_a_part_without_a_validation_score_competes_where_none_has_one():
    assert part_of(("dip a 50 alone", 0.5, None), ("dip a 100 alone", 1.0, None)) == "dip a 100 alone", "the dearest"
    for score in (None, float("nan"), float("-inf")):
        assert part_of(("dip a 50 alone", 0.5, 9.0), ("dip a 100 alone", 1.0, score)) == "dip a 50 alone"


def test_without_its_prior_alone_nothing_pays():
    made = experiment(+2.0, +2.0)
    made.records = [r for r in made.records if r.role != "part"]
    found = judge(made)
    assert found.outcome == "inconclusive" and found.part is None and found.control.difference.low > 0
    assert "its prior alone was not run" in sentence(found, made)
    made = experiment(-2.0, 0.0)
    made.records = [r for r in made.records if r.role != "part"]
    assert judge(made).outcome == "does not pay"


def test_a_win_says_what_it_is_a_win_in():
    made = experiment(+2.0, +2.0)
    told = "This is a win in PSNR alone: how natural the images look was not judged in this table."
    assert sentence(judge(made), made).endswith(told)
    for other in (experiment(-2.0, 0.0), experiment(0.0, 0.0)):
        assert "natural" not in sentence(judge(other), other)


def test_a_treatment_that_diverged_is_not_the_best():
    made = experiment(+2.0, +2.0)
    diverged = record("dip net9 100", "treatment", [np.nan] * 16, family="net9", dip=1.0, iterations=100)
    made.records.insert(0, diverged)
    assert judge(made).best.record.arm == "dip net0 100"


def test_the_seconds_of_the_dip_are_in_the_cost():
    x = np.arange(16.0)
    with_dip = record("dip a 100", "treatment", x, family="a", dip=1.0, iterations=100)
    assert with_dip.cost == pytest.approx(1.05)
    made = run(
        [with_dip, record("noise", "control", x, budget=20)]
    )  # 0.2 s: affordable only because of the DIP's second
    every = samples(made.records)
    assert against_best_control(every[0], every).rival.record.budget == 20


def test_what_leaks_is_never_compared():
    x = np.arange(16.0)
    made = run(
        [
            record("dip a 100", "treatment", x, family="a", dip=1.0, iterations=100, leak="clean-target"),
            record("dip b 100", "treatment", x, family="b", dip=1.0, iterations=100),
            record("peek", "control", x + 50, leak="clean-target"),
            record("noise", "control", x + 1),
            record(
                "dip b 100 alone", "part", x + 50, family="b", dip=0.5, iterations=100, budget=0, leak="clean-target"
            ),
        ]
    )
    leaking, honest, *_ = every = samples(made.records)
    assert against_best_control(leaking, every) is None
    assert against_best_control(honest, every).rival.record.arm == "noise"
    assert against_part(honest, every) is None
    assert judge(made).best.record.arm == "dip b 100"


def test_other_images_cannot_be_paired():
    a = record("dip a 100", "treatment", np.zeros(16), family="a", dip=1.0)
    b = record("noise", "control", np.zeros(12))
    every = samples(run([a, b]).records)
    with pytest.raises(ValueError, match="measured on different images"):
        against_best_control(every[0], every)


def test_the_comparator_at_equal_budget():
    every = by_arm(made := experiment(+2.0, 0.0))
    rival = comparator_at_equal_budget(every["dip net0 100", 5], list(every.values()), made.comparator)
    found = contrast(every["dip net0 100", 5], rival, "psnr")
    assert found.rival.record.budget == 5 and found.rival.record.arm == "noise"


def test_repeats_are_put_together():
    x = np.arange(16.0)
    made = run([record("noise", "control", x + shift, repeat=repeat) for repeat, shift in enumerate([0, 1, 2])])
    (only,) = samples(made.records)
    assert only.values["psnr"].shape == (3, 16) and only.values["psnr"].mean() == pytest.approx(x.mean() + 1)


def test_a_repeat_that_is_missing_on_one_side_is_missing_on_both():
    x = np.arange(16.0)
    treated = [record("dip a 10", "treatment", x + gain, family="a", dip=0.1, repeat=r) for r, gain in ((0, 1), (2, 3))]
    noise = [record("noise", "control", x + r, budget=1, repeat=r) for r in (0, 1, 2)]
    every = samples(run([*treated, *noise]).records)
    assert against_best_control(every[0], every).difference.mean == pytest.approx((1 - 0 + 3 - 2) / 2)
    apart = samples(run([treated[0], *noise[1:]]).records)
    assert against_best_control(apart[0], apart) is None


def test_the_same_cell_twice_is_no_repeat():
    twice = [record("noise", "control", np.arange(16.0)), record("noise", "control", np.arange(16.0) + 1)]
    with pytest.raises(ValueError, match="noise at 5 is recorded twice"):
        samples(twice)


def test_break_even_by_hand():
    x = np.zeros(16)
    records = [record("noise", "control", x + level, budget=b) for b, level in zip(GRID, (18, 20, 24), strict=True)]
    treatment = record("dip a 100", "treatment", x + 23, family="a", dip=2.0, iterations=100, budget=5)
    made = run([*records, treatment])
    every = samples(made.records)
    found = break_even(every[-1], every, made)
    assert found.rho == pytest.approx(2.0 / 100 / 0.01)  # one iteration costs two evaluations
    assert found.reached and found.iterations == pytest.approx((20 - 5) / 2)  # I < (K_noise - K_DIP) / rho
    never = run([*records, record("dip a 100", "treatment", x + 30, family="a", dip=2.0, iterations=100, budget=5)])
    assert not break_even(samples(never.records)[-1], samples(never.records), never).reached
