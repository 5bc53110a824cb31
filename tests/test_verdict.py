"""Contrasts and verdicts on planted data: a win, a loss, nothing at all, and every unfair comparison refused."""

from dataclasses import replace

import numpy as np
import pytest
from planted import GRID, experiment, record, run

from dipddpm.measure import statistics
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.contrast import (
    best_control,
    best_part,
    best_validated,
    comparator_at_equal_budget,
    contrast,
    samples,
)
from dipddpm.report.sentence import sentence
from dipddpm.report.verdict import break_even, decide, verdict

JUDGES = ("PSNR", "perception")


def judge(made):
    return verdict(Comparisons(made), "task")


def against_best_control(sample, others):
    return contrast(sample, best_control(sample, others, "psnr"), "psnr")


def against_part(sample, others):
    return contrast(sample, best_part(sample, others, "psnr"), "psnr")


# The rule itself. Rows are judges, columns are the contrasts with the best control and with the best part.

BETTER, WORSE, NONE = (1.0, 0.01), (-1.0, 0.01), (0.1, 0.6)  # (effect, p)
NEARLY = (-1.0, 0.04)  # p < 0.05, but two rivals could have won
MISSING = (np.nan, np.nan)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((BETTER, BETTER), (BETTER, BETTER), "pays"),
        ((BETTER, BETTER), (BETTER, NONE), "pays in PSNR alone"),
        ((BETTER, BETTER), (NONE, NEARLY), "pays in PSNR alone"),
        ((NONE, BETTER), (BETTER, BETTER), "pays in perception alone"),
        ((BETTER, BETTER), (BETTER, WORSE), "cannot tell"),
        ((BETTER, NONE), (NONE, BETTER), "cannot tell"),
        ((WORSE, BETTER), (BETTER, WORSE), "does not pay"),
        ((WORSE, WORSE), (WORSE, WORSE), "does not pay"),
        ((WORSE, WORSE), (NONE, NONE), "cannot tell"),
        ((WORSE, NONE), (NEARLY, NONE), "cannot tell"),
        ((BETTER, MISSING), (BETTER, BETTER), "pays in perception alone"),
        ((MISSING, MISSING), (BETTER, BETTER), "pays in perception alone"),
        ((WORSE, MISSING), (MISSING, WORSE), "does not pay"),
        ((MISSING, MISSING), (MISSING, MISSING), "cannot tell"),
    ],
)
def test_the_rule(first, second, outcome):
    effects, p = np.moveaxis(np.array([first, second]), -1, 0)
    assert decide(effects, p, JUDGES).item() == outcome


def test_the_rule_with_a_single_judge():
    def by_psnr(*contrasts):
        effects, p = np.moveaxis(np.array([contrasts]), -1, 0)
        return decide(effects, p, ["PSNR"]).item()

    assert by_psnr(BETTER, BETTER) == "pays in PSNR alone", "one judge can never say that it pays"
    assert by_psnr(BETTER, WORSE) == "does not pay" and by_psnr(BETTER, NONE) == "cannot tell"


def test_the_rule_of_many_experiments_at_once_is_that_of_each():
    rng = np.random.default_rng(0)
    effects, p = rng.normal(size=(50, 2, 2)), rng.uniform(0, 0.1, (50, 2, 2))
    assert decide(effects, p, JUDGES).tolist() == [decide(e, q, JUDGES).item() for e, q in zip(effects, p, strict=True)]


# Runs with planted answers.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [16, 40])  # Student's t and the bootstrap
def test_a_planted_win_pays(seed, n):
    found = judge(made := experiment(+2.0, +2.0, seed=seed, n=n))
    assert found.outcome == "pays" and [t.judge for t in found.tested] == ["psnr", "st_lpips"]
    for tested in found.tested:
        assert tested.treatment.record.arm == "dip net0 100" and tested.candidates == 6
        assert 0.5 < tested.contrasts["control"].effect * (100 if tested.judge == "st_lpips" else 1) < 3.5
    assert found.tested[1].contrasts["control"].difference.mean < 0, "less is better, and the effect is still positive"
    assert "**The DIP start pays.**" in sentence(found, made)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_loss_does_not_pay(seed):
    found = judge(made := experiment(-2.0, 0.0, seed=seed))
    assert found.outcome == "does not pay" and found.tested[0].contrasts["control"].difference.high < 0
    assert "does not pay" in sentence(found, made)


def test_a_win_that_the_prior_alone_has_too_does_not_pay():
    assert judge(experiment(+2.0, -2.0)).outcome == "does not pay"


@pytest.mark.parametrize(
    ("by_psnr", "perceived", "outcome"),
    [
        ((2.0, 2.0), (0.0, 0.0), "pays in PSNR alone"),
        ((0.0, 0.0), (2.0, 2.0), "pays in perception alone"),
        ((2.0, 2.0), (-2.0, 2.0), "cannot tell"),
        ((-2.0, 2.0), (2.0, -2.0), "does not pay"),
    ],
)
def test_each_judge_has_a_say(by_psnr, perceived, outcome):
    made = experiment(*by_psnr, perceived=perceived, n=24)
    assert judge(made).outcome == outcome
    claim = sentence(judge(made), made)
    assert ("this run cannot tell" if outcome == "cannot tell" else f"**The DIP start {outcome}.**") in claim


def test_each_judge_tests_what_it_chose_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(22, 3, 16)
    common = {"family": "a", "dip": 1.0, "iterations": 100}

    def arm(name, role, psnr, lpips, **options):
        return record(name, role, x + psnr, lpips=0.1 - 0.01 * lpips - x / 1000, **options)

    made = run(
        [
            arm("blur", "control", 0, 0),
            arm("sharp", "control", -9, 3, judges=["st_lpips"], chosen=["st_lpips"]),
            arm("dip a 100", "treatment", 2, -1, **common, judges=["psnr"], chosen=["psnr"]),
            arm("dip a 100", "treatment", 1, 2, **common, judges=["st_lpips"], chosen=["st_lpips"]),
            arm("dip a 100 alone", "part", -3, -3, **common, budget=0),
        ]
    )
    by_psnr, by_lpips = judge(made).tested
    assert by_psnr.treatment.mean("psnr") == pytest.approx(x.mean() + 2)
    assert by_psnr.contrasts["control"].rival.record.arm == "blur", "what PSNR did not choose is not in its table"
    assert by_lpips.treatment.mean("psnr") == pytest.approx(x.mean() + 1)
    assert by_lpips.contrasts["control"].rival.record.arm == "sharp"


def test_the_treatment_is_chosen_on_validation_images_and_not_on_test_images():
    x = np.random.default_rng(0).normal(22, 3, 16)
    common = {"dip": 1.0, "iterations": 100}
    made = run(
        [
            record("noise", "control", x),
            record("dip lucky 100", "treatment", x + 5, family="lucky", validation=20.0, **common),
            record("dip good 100", "treatment", x + 1, family="good", validation=25.0, **common),
        ]
    )
    found = judge(made)
    assert found.tested[0].treatment.record.arm == "dip good 100" and found.tested[0].candidates == 2
    made.records[1] = replace(made.records[1], validation={"psnr": 30.0})
    assert judge(made).tested[0].treatment.record.arm == "dip lucky 100"


def test_a_treatment_without_a_score_is_not_tested():
    made = experiment(+2.0, +2.0)
    for score in ({}, {"psnr": float("nan"), "st_lpips": 0.01}):
        made.records[4] = replace(made.records[4], validation=score)
        tested = judge(made).tested
        assert tested[0].treatment.record.arm != "dip net0 100"
    assert tested[1].treatment.record.arm == "dip net0 100"
    made.records = [replace(r, validation={}) if r.role == "treatment" else r for r in made.records]
    assert judge(made) is None


def test_false_alarms_on_pure_noise_are_rare():
    """Where nothing differs; the size of the rule itself is measured in test_planted_world.py."""
    outcomes = [judge(experiment(0.0, 0.0, seed=seed, noise=2.0)).outcome for seed in range(200)]
    assert np.mean([outcome in ("pays", "does not pay") for outcome in outcomes]) <= 0.03


@pytest.mark.parametrize(("photographs", "outcome"), [(5, "too few photographs"), (6, "pays"), (None, "pays")])
def test_below_six_photographs_there_is_an_effect_and_no_verdict(photographs, outcome):
    found = judge(made := experiment(+3.0, +3.0, n=18, photographs=photographs))
    assert found.outcome == outcome
    text = sentence(found, made)
    if photographs == 5:
        assert found.n == 5
        assert text.startswith("**No verdict: too few photographs, 5 of the 6 that it takes.** n = 5 photographs (18 ")
        assert " dB [" in text and "p = " not in text and "pays" not in text
    else:
        assert "**The DIP start pays.**" in text


def test_where_no_p_can_be_small_enough_n_is_too_small(monkeypatch):
    made = experiment(+2.0, +2.0, n=40)
    assert judge(made).outcome == "pays"
    monkeypatch.setattr(statistics, "RESAMPLES", 19)  # p is at least 1 / 20
    found = judge(made)
    assert found.outcome == "cannot tell: n too small"
    assert "**Cannot tell: n too small.** No p-value of 40 photographs could be small enough." in sentence(found, made)


def test_a_sentence_carries_effect_interval_p_n_setting_cost_and_rivals():
    made = experiment(+2.0, +2.0)
    text = sentence(judge(made), made)
    assert len(text.splitlines()) == 8
    for part in (
        "n = 16 photographs.",
        "By PSNR, the best of 6 DIP settings on validation images: dip net0 100, 5 NFE, 1.05 s per image.",
        "By ST-LPIPS (lower is better), the best of 6 DIP settings",
        "Against the best control that costs no more: blur, 1 NFE, 10 ms per image: +",
        "Against the best DIP alone that costs no more: dip net0 100 alone, 1 s per image: +",
        " dB [+",
        ": won. So many photographs show an effect of 0.",
        " in 80 % of runs.",
        "One iteration of the DIP costs 1.00 NFE",
    ):
        assert part in text
    assert sentence(None, made).startswith("**No verdict**")
    lost = experiment(-2.0, 0.0)
    assert ": lost." in sentence(judge(lost), lost)


def test_a_sentence_names_edges_settings_and_what_was_learned():
    made = experiment(+2.0, +2.0)
    at = {r.arm: i for i, r in enumerate(made.records)}
    blur, dip = made.records[at["blur"]], made.records[at["dip net0 100"]]
    made.records[at["blur"]] = replace(blur, training_seconds=104.0, axes={"setting": "t0 25, mean of 4 samples"})
    made.records[at["dip net0 100"]] = replace(dip, edges=["t0 = 2, the smallest offered"])
    text = sentence(judge(made), made)
    assert "blur, 1 NFE, t0 25, mean of 4 samples, 10 ms per image" in text
    assert "(on the edge of its grid: t0 = 2, the smallest offered)" in text
    assert "Learned: its training of 104 s is repaid after 100 images." in text, "it saves 1.04 s per image"


def test_a_loss_that_is_not_beyond_chance_of_two_rivals_says_so():
    d = np.random.default_rng(3).normal(size=16)
    d = (d - d.mean()) / d.std(ddof=1)
    x = np.random.default_rng(0).normal(22, 3, 16)
    common = {"family": "a", "dip": 1.0, "iterations": 100}
    near = [record("noise", "control", x), record("dip a 100", "treatment", x + d - 2.3 / 4, **common)]  # t = -2.3
    made = run([*near, record("dip a 100 alone", "part", x - 5, **common, budget=0)])
    found = judge(made)
    assert 0.025 < found.tested[0].contrasts["control"].difference.p < 0.05 and found.outcome == "cannot tell"
    assert "undecided (a rival wins at p < 0.025)" in sentence(found, made)


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


def test_the_part_is_the_best_of_any_family_by_validation_that_costs_no_more():
    honest = [("dip a 100 alone", 1.0, 20.0), ("dip a 50 alone", 0.5, 22.0), ("dip a 100 ema alone", 1.0, 23.0)]
    assert part_of(*honest) == "dip a 100 ema alone"
    assert part_of(*honest[:2]) == "dip a 50 alone", "a cheaper duration may be the better one"
    assert part_of(*honest, ("dip a 400 alone", 4.0, 29.0)) == "dip a 100 ema alone", "a dearer one is no rival"
    assert part_of(*honest, ("dip b 100 alone", 1.0, 29.0)) == "dip b 100 alone", "another architecture may be"


def test_a_rival_without_a_validation_score_is_never_chosen():
    for score in ({}, float("nan"), float("-inf")):
        assert part_of(("dip a 50 alone", 0.5, 9.0), ("dip a 100 alone", 1.0, score)) == "dip a 50 alone"
        assert part_of(("dip a 100 alone", 1.0, score)) is None
    assert best_validated([], "psnr") is None


def test_less_is_better_where_the_judge_says_so():
    x = np.arange(16.0)
    controls = [record(f"c{v}", "control", x, lpips=x, validation={"st_lpips": v}) for v in (0.3, 0.1, 0.2)]
    assert best_validated(samples(controls), "st_lpips").record.arm == "c0.1"


def test_without_its_prior_alone_nothing_pays():
    made = experiment(+2.0, +2.0)
    made.records = [r for r in made.records if r.role != "part"]
    found = judge(made)
    assert found.outcome == "cannot tell" and found.tested[0].contrasts["part"] is None
    assert "Against the best DIP alone that costs no more: none was run." in sentence(found, made)
    made = experiment(-2.0, 0.0)
    made.records = [r for r in made.records if r.role != "part"]
    assert judge(made).outcome == "does not pay"


def test_a_treatment_that_diverged_is_not_tested():
    made = experiment(+2.0, +2.0)
    nan = [np.nan] * 16
    made.records.insert(0, record("dip net9 100", "treatment", nan, lpips=nan, dip=1.0, iterations=100))
    assert judge(made).tested[0].treatment.record.arm == "dip net0 100"


def test_a_test_image_that_diverged_decides_nothing():
    made = experiment(+2.0, +2.0)
    psnr = made.records[4].measures["psnr"]
    gone = {**made.records[4].measures, "psnr": replace(psnr, values=[np.nan, *psnr.values[1:]])}
    made.records[4] = replace(made.records[4], measures=gone)
    found = judge(made)
    assert found.outcome == "pays in perception alone" and np.isnan(found.tested[0].contrasts["control"].effect)


def test_the_seconds_of_the_dip_are_in_the_cost():
    x = np.arange(16.0)
    with_dip = record("dip a 100", "treatment", x, family="a", dip=1.0, iterations=100)
    assert with_dip.cost == pytest.approx(1.05)
    made = run(
        [with_dip, record("noise", "control", x, budget=20)]
    )  # 0.2 s: affordable only because of the DIP's second
    every = samples(made.records)
    assert against_best_control(every[0], every).rival.record.budget == 20


def test_equal_work_costs_the_same():
    """16, 20 and 24 s for the same fit: each is charged the median price of an iteration."""
    x = np.arange(16.0)
    pace = {"dip": "a at 32 px", "diffusion": "unet"}
    fits = [
        record(f"dip a {n}", "treatment", x, family="a", dip=dip, iterations=n, pace=pace)
        for n, dip in ((100, 16.0), (100, 24.0), (200, 40.0))
    ]
    fits[1] = replace(fits[1], arm="dip a 100 again")
    other = record("dip b 100", "treatment", x, family="b", dip=7.0, iterations=100, pace={"dip": "b"})
    free = record("blur alone", "control", x, budget=0, pace=pace)
    costs = {s.record.arm: s.cost for s in samples([*fits, other, free])}
    assert costs["dip a 100"] == costs["dip a 100 again"] == pytest.approx(20 + 0.05)
    assert costs["dip a 200"] == pytest.approx(40 + 0.05)
    assert costs["dip b 100"] == pytest.approx(7 + 0.05), "another key, another pace"
    assert costs["blur alone"] == 0 and other.cost == pytest.approx(7.05)


def test_what_leaks_is_never_compared():
    x = np.arange(16.0)
    made = run(
        [
            record("dip a 100", "treatment", x + 9, family="a", dip=1.0, iterations=100, leak="clean-target"),
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
    assert judge(made).tested[0].treatment.record.arm == "dip b 100"


def test_other_images_cannot_be_paired():
    a = record("dip a 100", "treatment", np.zeros(16), family="a", dip=1.0)
    b = record("noise", "control", np.zeros(12))
    every = samples(run([a, b]).records)
    with pytest.raises(ValueError, match="measured on different images"):
        against_best_control(every[0], every)


def test_the_comparator_at_equal_budget():
    every = by_arm(made := experiment(+2.0, 0.0))
    rival = comparator_at_equal_budget(every["dip net0 100", 5], list(every.values()), made.comparator, "psnr")
    found = contrast(every["dip net0 100", 5], rival, "psnr")
    assert found.rival.record.budget == 5 and found.rival.record.arm == "noise"


def test_repeats_are_put_together():
    x = np.arange(16.0)
    made = run([record("noise", "control", x + shift, repeat=repeat) for repeat, shift in enumerate([0, 1, 2])])
    (only,) = samples(made.records)
    assert only.values["psnr"].shape == (3, 16) and only.mean("psnr") == pytest.approx(x.mean() + 1)


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
