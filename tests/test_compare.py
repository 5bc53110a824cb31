"""The comparison: whatever is planted is caught and named, and what does not compare is said to differ, by name."""

import math
from dataclasses import replace

import pytest
from planted_gate import cell, ratios, records, run, stage

from dipddpm.measure.exit_codes import FAILED, HOLDS, NOTHING, REGRESSION, UNDECIDED
from dipddpm.measure.gate.baseline import load
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import Measure

NOISE_5 = "restoration / inpaint / noise / 5 / 0"
STAGE = "speed / all / evaluation / 0 / 0"


@pytest.fixture
def section(tmp_path):
    promote(run(), "first", tmp_path / "b.json")
    return load(tmp_path / "b.json")["cpu"]


def changed(at, **measures):
    """The suite with measures of one record replaced."""
    made = records()
    made[at] = replace(made[at], measures={**made[at].measures, **measures})
    return made


def shifted(at, metric, by):
    measure = records()[at].measures[metric]
    return changed(at, **{metric: replace(measure, values=[v + by for v in measure.values])})


def found(comparison, outcome):
    return {(f.key, f.metric): f.text for f in comparison.of(outcome)}


def test_the_same_run_holds(section):
    result = compare(run(), section)
    assert result.code == HOLDS and result.same_machine
    assert {f.outcome for f in result.findings} == {"holds"} and len(result.findings) == 4 * 3 + 2
    assert result.table() == "" and result.raw_timings == 1
    assert "holds against b.json (cpu, same machine): 14 hold; 1 timings in seconds" in result.summary("b.json")


def test_a_loss_of_half_a_decibel_is_named(section):
    result = compare(run(shifted(1, "psnr", -0.5)), section)
    assert result.code == REGRESSION
    assert "-0.5, allowed 0.01" in found(result, "regression")[NOISE_5, "psnr"]
    assert "noise / 5" in result.table() and "noise / 5" in result.markdown("b.json")


def test_a_gain_is_listed_and_fails_nothing(section):
    result = compare(run(shifted(1, "psnr", +0.5)), section)
    assert result.code == HOLDS and list(found(result, "improved")) == [(NOISE_5, "psnr")]


@pytest.mark.parametrize(("by", "code"), [(0.15, HOLDS), (-0.15, HOLDS), (-0.25, REGRESSION)])
def test_another_machine_has_a_tolerance_of_its_own(section, by, code):
    result = compare(run(shifted(1, "psnr", by), machine={"id": "elsewhere"}), section)
    assert result.code == code and not result.same_machine


def test_where_less_is_better_more_is_worse(tmp_path):
    fid = Measure("", False, "quality", [50.0] * 8)
    promote(run([cell(measures={"fd": fid})]), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    for by, outcome in ((1.0, "regression"), (-1.0, "improved"), (0.01, "holds")):
        now = run([cell(measures={"fd": replace(fid, values=[50.0 + by] * 8)})])
        assert (NOISE_5, "fd") in found(compare(now, section), outcome)


def test_a_population_is_one_number_with_an_interval(tmp_path):
    kid = Measure("", False, "quality", [0.001], interval=[-0.004, 0.006])

    def made(by):
        return replace(cell(), role="population", measures={"kid": replace(kid, values=[0.001 + by])}, items=["all"])

    promote(run([made(0.0)]), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    for by, same, other in ((0.00005, HOLDS, HOLDS), (0.0005, REGRESSION, HOLDS), (0.005, REGRESSION, REGRESSION)):
        assert compare(run([made(by)]), section).code == same
        assert compare(run([made(by)], machine={"id": "elsewhere"}), section).code == other


def test_few_images_do_not_compare_across_machines(tmp_path):
    promote(run([cell(n=3)]), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    assert compare(run([cell(n=3)]), section).code == HOLDS
    elsewhere = compare(run([cell(n=3)], machine={"id": "elsewhere"}), section)
    assert elsewhere.code == UNDECIDED and "a mean over 3 images" in elsewhere.table()


def test_one_evaluation_too_many_is_named(section):
    result = compare(run(changed(1, nfe=Measure("", False, "structure", [6]))), section)
    assert result.code == REGRESSION and found(result, "regression") == {(NOISE_5, "nfe"): "6, baseline 5"}


def test_a_count_is_exact_to_the_last_digit(section):
    result = compare(run(changed(5, parameters=Measure("", False, "structure", [2_184_124]))), section)
    assert list(found(result, "regression").values()) == ["2184124, baseline 2184123"]


def test_a_swapped_direction_is_named(section):
    swapped = replace(records()[1].measures["psnr"], higher_is_better=False)
    result = compare(run(changed(1, psnr=swapped)), section)
    text = "direction: lower is better, baseline higher is better"
    assert result.code == REGRESSION and found(result, "regression")[NOISE_5, "psnr"] == text


def test_a_measure_cannot_slip_out_by_changing_its_kind_or_unit(section):
    for change in ({"kind": "timing"}, {"unit": "nats"}):
        result = compare(run(changed(1, psnr=replace(records()[1].measures["psnr"], **change))), section)
        assert result.code == REGRESSION, change


def test_nan_is_named(section):
    measure = records()[1].measures["psnr"]
    result = compare(run(changed(1, psnr=replace(measure, values=[math.nan, *measure.values[1:]]))), section)
    assert result.code == REGRESSION and found(result, "regression")[NOISE_5, "psnr"] == "NaN in 1 of 8 values"


def test_missing_fails_and_new_is_listed(section):
    without = [record for record in records() if record.arm != "blur"]
    result = compare(run([*without, cell("bicubic")]), section)
    assert result.code == REGRESSION and {f.key.split(" / ")[2] for f in result.of("missing")} == {"blur"}
    assert [f.key for f in result.of("new")] == ["restoration / inpaint / bicubic / 5 / 0"]
    less = records()
    less[1] = replace(less[1], measures={k: v for k, v in less[1].measures.items() if k != "ssim"})
    assert list(found(compare(run(less), section), "missing")) == [(NOISE_5, "ssim")]


def test_a_deleted_suite_is_named(section):
    result = compare(run([record for record in records() if record.origin != "bench_controls"]), section)
    assert result.code == REGRESSION
    assert found(result, "missing") == {
        ("suite bench_controls", ""): "the suite is gone, and with it 4 entries of the baseline"
    }


def test_what_was_not_selected_is_not_missing(section):
    broken = compare(run(records()[:1], selected="interrupted"), section)
    assert broken.code == REGRESSION and "which was interrupted" in broken.table(), "what is missing was not left out"
    result = compare(run(records()[:1], selected="-k 'noise-at-1'"), section)
    assert result.code == HOLDS and len(result.of("not selected")) == 5 and not result.of("missing")
    assert compare(run([], selected="-k nothing"), section).code == NOTHING


def test_failed_tests_fail(section):
    assert compare(run(failed=1), section).code == FAILED
    assert "1 tests failed" in compare(run(failed=1), section).table()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settings": run().settings | {"profile": "planted images=2"}}, "profile: planted images=2, baseline planted"),
        ({"settings": run().settings | {"denoiser": "unet b2"}}, "denoiser: unet b2, baseline unet a1"),
        ({"settings": run().settings | {"data": "cats"}}, "data: cats, baseline photographs"),
        ({"config": {"images": 8, "t0s": (50, 100)}}, "t0s: (50, 100), baseline [50, 200]"),
    ],
    ids=["profile", "denoiser", "data", "axis"],
)
def test_other_settings_do_not_compare_and_say_why(section, options, said):
    result = compare(run(shifted(1, "psnr", -3.0), **options), section)
    assert result.code == UNDECIDED and {f.outcome for f in result.findings} == {"incomparable"}
    assert said in result.table() and "and 5 more" in result.table()


def test_a_changed_suite_invalidates_its_own_entries(section):
    origins = run().origins | {"bench_controls": "other code"}
    result = compare(run(origins=origins), section)
    assert result.code == UNDECIDED and len(result.of("incomparable")) == 4
    assert {f.text for f in result.of("incomparable")} == {"the code of suite bench_controls changed"}
    assert len(result.of("holds")) == 2  # the others still compare


def test_other_images_or_seeds_do_not_compare(section):
    made = records()
    made[0] = replace(made[0], items=[f"other {i}" for i in range(8)])
    made[1] = replace(made[1], seeds={"seed": 1})
    texts = [f.text for f in compare(run(made), section).of("incomparable")]
    assert "images: 8 (" in texts[0] and "seeds: {'seed': 1}, baseline {'seed': 0}" in texts[1]


def test_what_is_tuned_and_what_is_measured_on_are_not_identity(section):
    made = [
        replace(record, axes={"setting": "eta 1"} if record.role != "stage" else record.axes) for record in records()
    ]
    assert compare(run(made, machine={"id": "elsewhere"}), section).code == HOLDS


def test_a_threshold_that_is_no_longer_reached(tmp_path):
    level = [23.1] * 5 + [20.5] * 3  # 5 of 8 images reach 23 dB
    before = cell(measures={"psnr": Measure("dB", True, "quality", level)})
    promote(run([before]), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    # The mean is kept, half of the images lose what they had.
    after = replace(
        before, measures=before.measures | {"psnr": Measure("dB", True, "quality", [22.5] * 5 + [21.5] * 3)}
    )
    result = compare(run([after]), section)
    assert found(result, "regression")[NOISE_5, "psnr 23"] == "newly unreached: by 0% of the images, baseline 62%"
    within = Measure("dB", True, "quality", [22.995] * 5 + [20.7] * 3)  # below 23 by less than the tolerance
    assert compare(run([replace(before, measures=before.measures | {"psnr": within})]), section).code == HOLDS


# Times


def timed(time):
    return run([*records()[:4], stage(time=time), records()[5]])


def test_a_slowdown_is_named_once_a_rerun_confirms_it(section):
    slow = ratios(8.0, seed=1)
    once = compare(timed(slow), section)
    assert once.code == UNDECIDED and "not confirmed by a rerun" in found(once, "inconclusive")[STAGE, "time"]
    twice = compare(timed(replace(slow, reruns=[ratios(8.0, seed=2)])), section)
    assert twice.code == REGRESSION and "1.60 x the baseline's time" in found(twice, "regression")[STAGE, "time"]
    calm = compare(timed(replace(slow, reruns=[ratios(5.1, seed=2)])), section)
    assert calm.code == HOLDS


def test_an_unsteady_yardstick_is_no_pass(section):
    result = compare(timed(ratios(yardstick_noise=0.3)), section)
    assert result.code == UNDECIDED and "busy machine" in found(result, "inconclusive")[STAGE, "time"]
    assert compare(timed(replace(ratios(yardstick_noise=0.3), reruns=[ratios()])), section).code == HOLDS


def test_a_dedicated_machine_is_held_to_ten_per_cent(section):
    slow = replace(ratios(6.0, seed=1), reruns=[ratios(6.0, seed=2)])
    assert compare(timed(slow), section).code == HOLDS
    assert compare(timed(slow), section, dedicated=True).code == REGRESSION
    elsewhere = replace(timed(slow), machine={"id": "elsewhere"})
    assert compare(elsewhere, section, dedicated=True).code == HOLDS


def test_seconds_of_another_machine_are_never_gated(section):
    made = records()
    seconds = Measure("s", False, "timing", [50.0])
    made[4] = replace(made[4], measures={**made[4].measures, "seconds": seconds}, seconds={"evaluation": 50.0})
    result = compare(run(made, machine={"id": "elsewhere"}), section)
    assert result.code == HOLDS and "seconds" not in {f.metric for f in result.findings}
    assert "1 timings in seconds are not gated" in result.summary("b.json")


def test_faster_is_listed(section):
    result = compare(timed(ratios(2.5)), section)
    assert result.code == HOLDS and (STAGE, "time") in found(result, "improved")


def test_files_give_the_answer_of_the_session(section, tmp_path):
    made = timed(replace(ratios(8.0, seed=1), reruns=[ratios(8.0, seed=2)]))
    made.save(tmp_path / "run.json")
    again = compare(type(made).load(tmp_path / "run.json"), section)
    assert again.findings == compare(made, section).findings and again.code == REGRESSION


def two_settings():
    """An arm at one budget in the settings of two judges."""
    by_psnr = cell(psnr=24.0, seed=1, judges=["psnr"])
    return by_psnr, cell(psnr=22.0, seed=1, judges=["st_lpips"], chosen=())


def test_settings_of_two_judges_are_two_entries(tmp_path):
    promote(run(two_settings()), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    assert list(section.entries) == [f"{NOISE_5} / by psnr", f"{NOISE_5} / by st_lpips"]
    assert compare(run(two_settings()), section).code == HOLDS
    by_psnr, by_lpips = two_settings()
    values = by_lpips.measures["psnr"]
    worse = replace(values, values=[value - 0.5 for value in values.values])
    made = [by_psnr, replace(by_lpips, measures=by_lpips.measures | {"psnr": worse})]
    result = compare(run(made), section)
    assert list(found(result, "regression")) == [(f"{NOISE_5} / by st_lpips", "psnr")]


def test_judges_that_agree_where_they_did_not_before_lose_no_entry(tmp_path):
    promote(run(two_settings()), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    both = replace(two_settings()[0], judges=["psnr", "st_lpips"])
    result = compare(run([both]), section)
    assert not result.of("missing") and not result.of("new")
    assert {key for key, _ in found(result, "improved")} == {f"{NOISE_5} / by st_lpips"}, "24 dB, where it had 22"
    promote(run([both]), "agree", tmp_path / "c.json")
    section = load(tmp_path / "c.json")["cpu"]
    assert list(section.entries) == [f"{NOISE_5} / by psnr"], "one setting, one entry"
    result = compare(run(two_settings()), section)
    assert result.code == HOLDS and list(found(result, "new")) == [(f"{NOISE_5} / by st_lpips", "")]


def test_a_threshold_of_a_judged_setting_is_watched_too(tmp_path):
    level = {"psnr": Measure("dB", True, "quality", [23.1] * 5 + [20.5] * 3)}
    before = cell(measures=level, judges=["psnr"])
    promote(run([before]), "first", tmp_path / "b.json")
    lost = {"psnr": Measure("dB", True, "quality", [22.5] * 5 + [21.5] * 3)}
    after = replace(before, measures=before.measures | lost)
    result = compare(run([after]), load(tmp_path / "b.json")["cpu"])
    assert (f"{NOISE_5} / by psnr", "psnr 23") in found(result, "regression")
