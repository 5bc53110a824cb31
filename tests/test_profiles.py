"""Profiles and arms: every axis covered, overridden by name, and refused in one line."""

import runpy
from pathlib import Path

import pytest

from dipddpm.dip import architecture_class
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, arms, budgets, tuned_as
from dipddpm.experiments.axes import axes_of
from dipddpm.experiments.generation_arms import generation_cells
from dipddpm.experiments.profiles import EVERY_WAY, PARTS, PROFILES, all_axes, profile
from dipddpm.experiments.tuning import candidates, draw_trials
from dipddpm.injection import injection
from dipddpm.measure.gate.compare import LEAST_IMAGES
from dipddpm.priors import priors
from dipddpm.restore import Setting
from dipddpm.tasks import tasks


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_names_only_what_exists_and_covers_every_prior(name):
    p = profile(name).restoration
    for task in p.tasks:
        assert task in tasks()
        listed = arms(p, task)
        honest = tasks()[task].leak == "none"
        assert {arm.prior.name for arm in listed} == (set(priors()) if honest else {"noise", "dip"})
        assert len({arm.label for arm in listed}) == len(listed)
        assert {arm.recipe for arm in listed if arm.prior.name == "dip"} == set(p.recipes_for(task))
        assert {r.architecture for r in p.recipes_for(task)} >= set(p.architectures_for(task))
    for a in p.architectures:
        architecture_class(a)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_arm_runs_the_shared_budgets_and_tunes_with_the_same_number_of_trials(name):
    p = profile(name).restoration
    for arm in arms(p, p.tasks[0]):
        assert set(p.budgets) <= set(budgets(arm, p, p.tasks[0]))
        for budget in (0, *p.budgets):
            tuned = tuned_as(arm, p, p.tasks[0], budget)
            assert tuned_as(tuned, p, p.tasks[0], budget) == tuned
    most = p.budgets[-1]
    for entry, solvers, t0s in (("none", p.noise_solvers, [999]), ("start", p.solvers, p.t0s)):
        grid = candidates(most, injection(entry), t0s, solvers, samples=p.samples)
        assert len(draw_trials(grid, p.trials, "task")) == p.trials


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_questions_share_out_every_arm_and_no_arm_is_asked_about_twice(name):
    p, folder = profile(name).restoration, Path(__file__).parent.parent / "bench"
    asked = [suite["asks"] for suite in map(runpy.run_path, map(str, folder.glob("bench_*.py"))) if "asks" in suite]
    assert len(asked) == 5
    for task in p.tasks:
        assert all(sum(asks(arm, p) for asks in asked) == 1 for arm in arms(p, task))


def test_the_shuffled_dip_and_the_oracle_run_in_the_setting_of_the_fitted_dip():
    p = profile("quick").restoration
    longest = max(p.iterations)
    for arm in arms(p, p.tasks[0]):
        if arm.prior.name in ("shuffled", "oracle"):
            tuned = tuned_as(arm, p, p.tasks[0], 5)
            assert (tuned.prior.name, tuned.iterations) == ("dip", longest)


def test_what_is_chosen_by_its_validation_score_is_looked_at_itself():
    """Controls at every budget; of one DIP alone, each duration, output and rule."""
    p = profile("quick").restoration
    for task in p.tasks:
        for arm in arms(p, task):
            if arm.role == "control":
                assert tuned_as(arm, p, task, 5) == tuned_as(arm, p, task, 0) == arm
            if arm.role == "treatment":
                assert tuned_as(arm, p, task, 0) == arm


def test_every_honest_use_of_a_fit_is_a_treatment():
    roles = {arm.label: arm.role for arm in arms(profile("quick").restoration, "inpaint")}
    assert {roles[f"dip skip:32 {use}"] for use in ("25", "50", "50 ema", "es-wmv", "red_denoiser 50")} == {"treatment"}
    assert roles["dip skip:32 50 raw"] == roles["untrained skip:32"] == roles["shuffled skip:32 50"] == "ablation"
    assert roles["dip skip:32 oracle"] == "bound"


def test_only_the_oracles_leak():
    leaking = {arm.label for arm in arms(profile("quick").restoration, "inpaint") if arm.leak != "none"}
    assert leaking == {"oracle", "dip skip:32 oracle"}
    assert all(arm.role == "bound" for arm in arms(profile("quick").restoration, "inpaint") if arm.leak != "none")


def test_candidates_spend_exactly_the_budget():
    grid = candidates(
        20,
        injection("start"),
        [100, 400],
        profile("full").restoration.solvers,
        [(1.0, True), (4.0, True), (1.0, False)],
    )
    assert all(s.nfe == 20 and s.nfe % s.travel == 0 for s in grid) and len(set(grid)) == len(grid)
    assert {s.t0 for s in grid} == {100, 400}
    assert {(s.strength, s.held) for s in grid} == {(1.0, True), (4.0, True), (1.0, False)}
    assert {s.sampler for s in candidates(1, injection("start"), [100], profile("quick").restoration.solvers)} == {
        "ddim"
    }
    assert candidates(0, injection("start"), [100], profile("quick").restoration.solvers) == [Setting(0)]
    assert (
        candidates(20, injection("start"), [10], profile("quick").restoration.solvers) == []
    )  # 20 steps do not fit below 10
    with pytest.raises(InputError, match="20 evaluations cannot be shared out over 3"):
        Setting(20, travel=3)


def test_trials_are_drawn_alike_every_time():
    grid = candidates(20, injection("start"), profile("full").restoration.t0s, profile("full").restoration.solvers)
    assert draw_trials(grid, 5, "a") == draw_trials(grid, 5, "a") != draw_trials(grid, 5, "b")
    assert sorted(map(str, draw_trials(grid, 10_000, "a"))) == sorted(map(str, grid))
    counts = [sum(s.t0 == t0 for s in draw_trials(grid, 20, "a")) for t0 in profile("full").restoration.t0s if t0 >= 19]
    assert max(counts) - min(counts) <= 1, "some step to enter at got more turns than another"


def test_override():
    p = profile("quick").override(["dip.iterations=100,50,0", "images=4", "task=inpaint"]).restoration
    assert p.iterations == (50, 100) and p.images == 4 and p.tasks == ("inpaint",)
    assert p.budgets == profile("quick").restoration.budgets
    twice = profile("quick").override(["task=inpaint,inpaint", "grid.t0=25,75,25"]).restoration
    assert twice.tasks == ("inpaint",) and twice.grid_t0s == (25, 75)


def test_architectures_that_are_asked_for_run_on_every_task():
    p = profile("quick").override(["dip.architecture=resnet,unet"]).restoration
    assert {p.architectures_for(task) for task in p.tasks} == {("resnet", "unet")}


@pytest.mark.parametrize("name", ["smoke", "quick", "standard"])
def test_ways_that_are_named_are_tried_on_every_task(name):
    """A profile that thins them out beyond the first task does so for its own ways."""
    axes = profile(name).override(["dip.fitting=tv", "dip.varied=deep_decoder"]).restoration
    honest = [task for task in axes.tasks if tasks()[task].leak == "none"]
    assert len(honest) >= 3
    assert all("deep_decoder tv" in [recipe.label for recipe in axes.recipes_for(task)] for task in honest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dip.iteration=5", r"unknown axis 'dip.iteration': choose from .*dip\.iterations"),
        ("images=many", r"--axis 'images=many': every value must be int"),
        ("images", r"write NAME=VALUE,VALUE"),
        ("dip.iterations=0", r"needs at least one value above 0"),
        ("images=0", r"must be at least 1"),
        ("nfe=-5", r"must be at least 1"),
        ("strength=nan", r"--axis 'strength=nan': every value must be a number above 0"),
        ("strength=0,4", r"must be a number above 0"),
    ],
)
def test_override_faults(text, message):
    with pytest.raises(InputError, match=message):
        profile("quick").override([text])


def value_of(p, option):
    """The value of an axis, wherever it stands."""
    for part in (p, *(getattr(p, name) for name in PARTS)):
        if option in axes_of(part):
            return getattr(part, axes_of(part)[option][0])
    raise AssertionError(f"{option} stands nowhere")


@pytest.mark.parametrize("option", all_axes())
def test_every_axis_can_be_overridden_and_says_what_it_means(option):
    quick = profile("quick")
    value = {"task": "inpaint", "dip.varied": "resnet", "dip.fitting": "red"}.get(
        option, "resnet" if "architecture" in option else "7"
    )
    old, new = value_of(quick, option), value_of(quick.override([f"{option}={value}"]), option)
    kind = type(old) if not isinstance(old, tuple) else type(old[0]) if old else all_axes()[option].kind
    assert new == ((kind(value),) if isinstance(old, tuple) else kind(value)) != old
    assert all_axes()[option].meaning


@pytest.mark.parametrize("option", all_axes())
def test_what_only_adds_cells_does_not_decide_the_others(option):
    """Runs compare if they differ in such an axis alone; not in the architecture and duration that all is tuned on."""
    quick = profile("quick")
    if option == "dip.architecture":
        other = quick.override([f"{option}=skip:32,resnet"])
    elif option == "dip.iterations":
        other = quick.override([f"{option}=7,50"])
    else:
        other = quick.override([f"{option}={'inpaint' if option == 'task' else 'resnet' if 'arch' in option else '7'}"])
    assert (other.decides() == quick.decides()) == all_axes()[option].adds_cells
    assert quick.override(["dip.architecture=resnet"]).decides() != quick.decides()
    assert quick.override(["dip.iterations=7"]).decides() != quick.decides()


def test_beyond_the_first_task_an_arm_may_run_at_fewer_budgets():
    p = profile("quick").restoration
    dip = Arm.named("dip", "skip:32", 50)
    assert [budgets(dip, p, task) for task in p.tasks[:2]] == [[0, 1, 5], [0, 5]]
    assert budgets(Arm.named("noise"), p, p.tasks[1]) == [5, 40]
    given = profile("quick").override(["nfe=2,7"]).restoration
    assert budgets(dip, given, p.tasks[1]) == [0, 2, 7], "budgets that are asked for run on every task"


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_that_leaves_a_track_out_says_where_it_is(name):
    p = profile(name)
    generated, trained = generation_cells(p.generation), p.training.tasks
    assert (generated and trained) or "profile smoke" in p.elsewhere
    assert set(p.restoration.ways) == set(EVERY_WAY) or "ways of fitting" in p.elsewhere


def test_unknown_profile():
    with pytest.raises(InputError, match="unknown profile 'huge': choose from smoke, quick, standard, full"):
        profile("huge")


def test_smoke_has_the_images_that_the_gate_compares_across_machines():
    assert profile("smoke").restoration.images >= LEAST_IMAGES
