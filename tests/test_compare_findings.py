"""Each finding of the gate whole: its key, its measure and its words; and on which side of a limit a value lies."""

from dataclasses import replace

import pytest
from planted_gate import cell, ratios, records, run, stage

from dipddpm.measure.gate.baseline import load
from dipddpm.measure.gate.compare import compare, settings_that_differ
from dipddpm.measure.gate.outcomes import Finding
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.instruments.paired_timing import LEAST_PAIRS
from dipddpm.measure.record import Measure

NOISE_5 = "restoration / inpaint / noise / 5 / 0"
STAGE = "speed / all / evaluation / 0 / 0"
FIT = "DIP fit / inpaint / skip / 20 / 0 / images=8"
ELSEWHERE = {"id": "elsewhere"}


@pytest.fixture
def promoted(tmp_path):
    """The section of a run's baseline."""

    def make(made=None, **options):
        promote(run(made, **options), "first", tmp_path / "b.json")
        return load(tmp_path / "b.json")["cpu"]

    return make


def of(result, *outcomes):
    return [finding for finding in result.findings if finding.outcome in outcomes]


# ---- words ---------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_once_each_and_the_rest_is_compared(promoted):
    section = promoted()
    made = [record for record in records() if record.origin != "bench_controls"]  # the first four of the baseline
    gone = compare(run(made), section)
    assert of(gone, "missing") == [
        Finding("missing", "suite bench_controls", "", "the suite is gone, and with it 4 entries of the baseline")
    ]
    assert {f.key for f in of(gone, "holds")} == {STAGE, FIT}, "what follows a suite that is gone is compared"
    less = compare(run([r for r in records() if (r.arm, r.budget) != ("noise", 5)]), section)
    assert of(less, "missing") == [Finding("missing", NOISE_5, "", "in the baseline, not in the run")]
    cut = compare(run(records()[:1], selected="interrupted"), section)
    text = "in the baseline, not in the run, which was interrupted"
    assert Finding("missing", NOISE_5, "", text) in of(cut, "missing")
    part = compare(run(records()[:1], selected="-k 'x'"), section)
    assert Finding("not selected", NOISE_5, "", "-k 'x'") in of(part, "not selected")


def test_what_is_new_is_listed_whole(promoted):
    section = promoted()
    found = compare(run([*records(), cell("bicubic")]), section)
    assert of(found, "new") == [Finding("new", "restoration / inpaint / bicubic / 5 / 0", "", "not in the baseline")]
    made = records()
    made[1] = replace(made[1], measures=made[1].measures | {"fd": Measure("", False, "quality", [1.0] * 8)})
    assert of(compare(run(made), section), "new") == [Finding("new", NOISE_5, "fd", "not in the baseline")]


def test_a_missing_measure_hides_no_other(promoted):
    section = promoted()
    made = records()
    kept = {name: m for name, m in made[1].measures.items() if name != "psnr"}
    made[1] = replace(made[1], measures=kept | {"ssim": replace(kept["ssim"], values=[0.1] * 8)})
    found = compare(run(made), section)
    assert of(found, "missing") == [Finding("missing", NOISE_5, "psnr", "in the baseline, not in the run")]
    assert [(f.key, f.metric) for f in of(found, "regression")] == [(NOISE_5, "ssim")]


def test_what_cannot_be_compared_says_why(promoted):
    section = promoted()
    made = records()
    made[1] = replace(made[1], seeds={"seed": 1}, items=[f"other {i}" for i in range(8)])
    (finding,) = of(compare(run(made), section), "incomparable")
    assert (finding.key, finding.metric) == (NOISE_5, "")
    images, seeds = finding.text.split("; ")
    assert images.startswith("images: 8 (") and seeds == "seeds: {'seed': 1}, baseline {'seed': 0}"
    made = records()
    made[1] = replace(made[1], origin="bench_other")
    (finding,) = of(compare(run(made, origins=run().origins | {"bench_other": "x"}), section), "incomparable")
    assert finding == Finding("incomparable", NOISE_5, "", "suite: bench_other, baseline bench_controls")


def test_other_settings_are_named_in_full(promoted):
    section = promoted()
    settings = run().settings
    found = compare(run(settings=settings | {"data": "cats"}), section)
    assert found.findings[0] == Finding(
        "incomparable", "restoration / inpaint / noise / 1 / 0", "", "data: cats, baseline photographs"
    )
    more = run(settings=settings | {"precision": "bf16"})
    assert settings_that_differ(more, section) == "precision: bf16, baseline absent"
    less = run(settings={name: value for name, value in settings.items() if name != "data"})
    assert settings_that_differ(less, section) == "data: absent, baseline photographs"
    three = {"a": 1, "b": 2, "c": 3}
    assert settings_that_differ(run(settings=settings | three), section) == "; ".join(
        f"{name}: {value}, baseline absent" for name, value in three.items()
    )
    four = run(settings=settings | three | {"d": 4})
    assert settings_that_differ(four, section).endswith("c: 3, baseline absent; and 1 more")
    five = run(settings=settings | three | {"d": 4, "e": 5})
    assert settings_that_differ(five, section).endswith("c: 3, baseline absent; and 2 more")


def test_cells_that_failed_are_named_up_to_three(promoted):
    section = promoted()
    (said,) = of(compare(run(failed=2), section), "failed")
    assert said == Finding("failed", "session", "", "2 tests failed")
    failures = {f"cell {i}": f"why {i}" for i in range(4)}
    (said,) = of(compare(run(failed=4, failures=failures), section), "failed")
    assert said.text == "4 tests failed: cell 0: why 0; cell 1: why 1; cell 2: why 2"


def test_a_measure_that_changed_its_nature_says_how(promoted):
    section = promoted()
    made = records()
    changed = replace(made[1].measures["psnr"], unit="nats", kind="structure")
    made[1] = replace(made[1], measures=made[1].measures | {"psnr": changed})
    (finding,) = of(compare(run(made), section), "regression")
    said = "unit: 'nats', baseline 'dB'; kind: 'structure', baseline 'quality'"
    assert finding == Finding("regression", NOISE_5, "psnr", said)


def test_values_are_shown_with_and_without_a_unit(promoted):
    made = [cell(measures={m: Measure(unit, True, "quality", [2.0] * 8) for m, unit in (("psnr", "dB"), ("ssim", ""))})]
    found = {f.metric: f.text for f in compare(run(made), promoted(made)).findings}
    assert (
        found["psnr"] == "2 dB, baseline 2 (+0, allowed 0.01)" and found["ssim"] == "2, baseline 2 (+0, allowed 0.001)"
    )
    counts = [cell(measures={"layers": Measure("", False, "structure", [3, 4])})]
    found = {f.metric: f.text for f in compare(run(counts), promoted(counts)).findings}
    assert found["layers"] == "3, 4, baseline 3, 4"


# ---- limits --------------------------------------------------------------------------------------------------------


def level(value, n=8, metric="psnr", higher=True):
    return cell(n=n, measures={metric: Measure("dB", higher, "quality", [value] * n)})


def outcome(before, now, section_of, **options):
    result = compare(run([now], **options), section_of([before]))
    return {f.metric: f.outcome for f in result.findings}


def test_a_loss_of_exactly_the_tolerance_holds(promoted):
    section = promoted([level(16.0)])
    section.tolerances = {"psnr": {"same": 0.5}}
    for value, expected in ((15.5, "holds"), (15.4375, "regression"), (16.5, "holds"), (16.5625, "improved")):
        found = {f.metric: f.outcome for f in compare(run([level(value)]), section).findings}
        assert found["psnr"] == expected, value


def test_where_less_is_better_the_tolerance_is_the_same(promoted):
    section = promoted([level(16.0, metric="fd", higher=False)])
    section.tolerances = {"fd": {"same": 0.5}}
    for value, expected in ((16.5, "holds"), (16.5625, "regression"), (15.5, "holds"), (15.4375, "improved")):
        found = {f.metric: f.outcome for f in compare(run([level(value, metric="fd", higher=False)]), section).findings}
        assert found["fd"] == expected, value


def test_the_tolerance_of_one_entry_is_of_that_entry(promoted):
    section = promoted([level(16.0)])
    section.tolerances = {"overrides": [{"entries": "*/ noise / 5 /*", "metric": "psnr", "same": 2.0}]}
    assert compare(run([level(15.0)]), section).of("regression") == []
    section.tolerances["overrides"][0]["entries"] = "*/ blur /*"
    assert compare(run([level(15.0)]), section).of("regression")


def test_one_image_is_few(promoted):
    assert outcome(level(16.0, n=1), level(16.0, n=1), promoted, machine=ELSEWHERE)["psnr"] == "incomparable"


def test_times_need_enough_pairs_in_the_baseline_and_a_yardstick_now(promoted):
    section, timed = promoted([stage(time=ratios(n=LEAST_PAIRS))]), run([stage(time=ratios(n=LEAST_PAIRS))])
    assert compare(timed, section).of("holds")
    entry = section.entries[STAGE]
    time = entry.measures["time"]
    few = replace(time, values=time.values[1:], yardstick=time.yardstick[1:])
    section.entries[STAGE] = replace(entry, measures={"time": few})
    text = f"fewer than {LEAST_PAIRS} ratios to the yardstick workload"
    assert compare(timed, section).findings == [Finding("incomparable", STAGE, "time", text)]
    section.entries[STAGE] = entry
    without = replace(ratios(n=LEAST_PAIRS), yardstick=[])
    found = compare(run([stage(time=without)]), section).findings
    assert {f.outcome for f in found} <= {"incomparable", "missing"}, "seconds are no ratios"


# ---- thresholds ----------------------------------------------------------------------------------------------------


def reaching(arm, budget, value, n=8, metric="psnr", higher=True, **options):
    made = {metric: Measure("dB", higher, "quality", value if isinstance(value, list) else [value] * n)}
    return cell(arm, budget, n=n, measures=made, **options)


def unreached(before, now, promoted, tolerances=None, machine=None, **options):
    section = promoted(before, **options)
    section.tolerances = tolerances or {}
    result = compare(run(now, **options | ({"machine": machine} if machine else {})), section)
    return [(f.key, f.metric) for f in result.findings if f.text.startswith("newly unreached")]


def test_a_threshold_that_a_smaller_budget_reached_is_watched_over_all_budgets(promoted):
    before = [reaching("noise", 1, 24.0), reaching("noise", 5, 22.0)]
    now = [reaching("noise", 1, 22.0), reaching("noise", 5, 22.0)]
    assert unreached(before, now, promoted) == [(NOISE_5, "psnr 23")], "named at the largest budget"
    kept = [reaching("noise", 1, 22.0), reaching("noise", 5, 24.0)]
    assert unreached(before, kept, promoted) == [], "another budget of the same arm reaches it now"


def test_arms_do_not_reach_it_for_each_other(promoted):
    before = [reaching("noise", 5, 24.0), reaching("blur", 5, 24.0)]
    now = [reaching("noise", 5, 22.0), reaching("blur", 5, 24.0)]
    assert unreached(before, now, promoted) == [(NOISE_5, "psnr 23")]
    repeats = [reaching("noise", 5, 24.0), reaching("noise", 5, 24.0, repeat=1)]
    lost = [reaching("noise", 5, 22.0), reaching("noise", 5, 24.0, repeat=1)]
    assert unreached(repeats, lost, promoted) == [(NOISE_5, "psnr 23")], "nor do repeats"


def test_half_of_the_images_are_enough(promoted):
    half = [24.0] * 4 + [20.5] * 4
    assert unreached([reaching("noise", 5, half)], [reaching("noise", 5, 22.0)], promoted)
    assert not unreached([reaching("noise", 5, half)], [reaching("noise", 5, half)], promoted)
    less = [24.0] * 3 + [20.5] * 5
    assert not unreached([reaching("noise", 5, less)], [reaching("noise", 5, 22.0)], promoted)


def test_a_miss_within_the_tolerance_counts_as_reached_in_both_directions(promoted):
    wide = {"psnr": {"same": 1.0}, "fd": {"same": 1.0}}
    before = [reaching("noise", 5, 23.5)]
    assert not unreached(before, [reaching("noise", 5, 22.5)], promoted, wide)
    assert unreached(before, [reaching("noise", 5, 21.5)], promoted, wide)
    options = {"thresholds": {"fd": [10.0]}}
    fd = [reaching("noise", 5, 9.5, metric="fd", higher=False)]
    for value, lost in ((10.5, False), (11.5, True), (13.0, True)):
        now = [reaching("noise", 5, value, metric="fd", higher=False)]
        assert bool(unreached(fd, now, promoted, wide, **options)) == lost, value


def test_the_tolerance_of_an_entry_counts_for_its_thresholds(promoted):
    own = {"overrides": [{"entries": "*/ noise / 5 /*", "metric": "psnr", "same": 3.0}]}
    assert not unreached([reaching("noise", 5, 23.5)], [reaching("noise", 5, 20.5)], promoted, own)


def test_few_images_say_nothing_of_thresholds_on_another_machine(promoted):
    few, lost = [reaching("noise", 5, 24.0, n=7)], [reaching("noise", 5, 20.5, n=7)]
    assert unreached(few, lost, promoted) and not unreached(few, lost, promoted, machine=ELSEWHERE)
    enough, gone = [reaching("noise", 5, 24.0)], [reaching("noise", 5, 20.5)]
    assert unreached(enough, gone, promoted, machine=ELSEWHERE)


def test_other_images_say_nothing_of_thresholds(promoted):
    other = replace(reaching("noise", 5, 20.5), items=[f"other {i}" for i in range(8)])
    assert not unreached([reaching("noise", 5, 24.0)], [other], promoted)


def test_stages_and_budgets_beside_the_grid_have_no_thresholds_and_hide_none(promoted):
    before = [stage(), reaching("noise", 2, 24.0), reaching("noise", 5, 24.0)]
    before = [replace(before[0], axes={"size": 32}), *before[1:]]
    now = [before[0], reaching("noise", 2, 20.5), reaching("noise", 5, 20.5)]
    assert unreached(before, now, promoted) == [(NOISE_5, "psnr 23")]
    assert not unreached(before[:2], now[:2], promoted), "2 is not in the grid"


def test_a_metric_that_is_not_there_hides_no_other(promoted):
    options = {"thresholds": {"fd": [10.0], "psnr": [23.0]}}
    assert unreached([reaching("noise", 5, 24.0)], [reaching("noise", 5, 20.5)], promoted, **options)
