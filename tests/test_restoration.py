"""The main path: fair by construction. Small real fits, a real network, real samples."""

import dataclasses
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dipddpm import restore as restore_module
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, arms, edges
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.recipes import Recipe
from dipddpm.experiments.restoration import Restoration
from dipddpm.experiments.tuning import best, tune
from dipddpm.injection import injection
from dipddpm.measure.store import Store
from dipddpm.metrics import metrics
from dipddpm.priors import Evidence, prior, priors
from dipddpm.restore import Setting, restore, score
from dipddpm.rng import ImageRng

TINY = dataclasses.replace(
    profile("smoke").restoration,
    images=3,
    validation_images=2,
    tasks=("inpaint", "denoise_25"),
    architectures=("deep_decoder", "skip"),
    few_architectures=("deep_decoder",),
    ways=("tv",),
    iterations=(3, 6),
    budgets=(1, 2),
    noise_budgets=(4,),
    trials=2,
)
DIP = Arm.named("dip", "deep_decoder", 6)


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def make(memo, denoiser, axes=TINY, **options):
    return Restoration(Fits(axes, open_dataset("photo-patches"), memo, **options), denoiser)


@pytest.fixture(scope="module")
def restoration(cache, denoiser):
    return make(Store(cache).measured, denoiser)


@pytest.mark.long
def test_every_cell_runs_and_counts_its_own_evaluations(restoration):
    for task in TINY.tasks:
        for arm, budget in restoration.cells(task):
            cell = restoration.cell(task, arm, budget)
            assert cell.nfe == budget, f"{arm.label}: quality of {budget} evaluations, cost of {cell.nfe}"
            assert cell.x_hat.abs().max() <= 1
            assert all(len(values) == TINY.images for values in cell.scores.values())
            assert (cell.seconds.get("dip", 0) > 0) == arm.prior.uses_dip, "DIP seconds left out of the cost"
            assert ("prior" in cell.seconds) == (arm.role == "control" and arm.injection.uses_mu)


def test_a_longer_dip_costs_more_and_all_its_seconds_are_charged(restoration):
    costs = [restoration.cell("inpaint", Arm.named("dip", "deep_decoder", i), 0).seconds["dip"] for i in (3, 6)]
    assert 0 < costs[0] < costs[1]
    fit = restoration.fits.fit("inpaint", "deep_decoder")
    assert costs[1] == pytest.approx(fit.seconds[-1] / TINY.images)


@pytest.mark.parametrize("arm", [a for a in arms(TINY, "inpaint") if a.prior.uses_dip], ids=lambda a: a.label)
def test_the_prior_is_used(arm, restoration):
    """Swapping the prior under fixed noise must change the sample."""
    mu, observation = restoration.mu(arm, "inpaint", "test").images, restoration.fits.observation("inpaint", "test")
    setting = Setting(2, arm.injection, 400 if not arm.injection.starts_at_T else 999)
    seeds = restoration.fits.rng("test", "inpaint", "sample").seeds
    ours, _ = restore(restoration.denoiser, observation, mu, setting, ImageRng(seeds))
    again, _ = restore(restoration.denoiser, observation, mu, setting, ImageRng(seeds))
    other, _ = restore(restoration.denoiser, observation, -mu, setting, ImageRng(seeds))
    assert torch.equal(ours, again)
    assert (ours - other).abs().max() > 0.01


def test_all_arms_share_mask_and_noise(restoration, monkeypatch):
    """What the operator and the way in draw does not depend on the arm: read off the first state of the network."""
    observations, states, denoiser = [], [], restoration.denoiser

    def spy(denoiser, observation, mu, setting, rng):
        observations.append(observation.y)
        return restore(denoiser, observation, mu, setting, rng)

    monkeypatch.setattr(restore_module, "restore", spy)
    eps = type(denoiser).eps
    fresh, schedule, noises = make(direct, restoration.denoiser), denoiser.schedule, []
    fresh._warm_up("test")

    def seen(self, x_t, t):
        states.append((x_t, int(torch.as_tensor(t).flatten()[0])))
        return eps(self, x_t, t)

    monkeypatch.setattr(type(denoiser), "eps", seen)
    for arm in (Arm.named("noise"), Arm.named("pinv"), DIP, Arm.named("oracle")):
        fresh.cell_with("inpaint", arm, Setting(1, arm.injection, 400 if arm.injection.name != "none" else 999))
        x_t, t = states[-1]
        signal, sigma = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
        mu = fresh.mu(arm, "inpaint", "test").images
        noises.append(x_t if mu is None else (x_t - signal * mu) / sigma)
    assert len(states) == 4
    assert all(torch.allclose(noises[0], noise, atol=1e-5) for noise in noises)
    assert all(torch.equal(observations[0], y) for y in observations)


def direct(function, arguments, *, aside=None, run=None):
    """A memo that remembers nothing."""
    return SimpleNamespace(value=function(**arguments, **(aside or {})), seconds=1.0, memory=0)


def test_only_what_declares_a_leak_is_shown_the_photograph(restoration, monkeypatch):
    seen = {}
    for name, kind in priors().items():
        monkeypatch.setattr(
            kind, "mu", lambda self, evidence, name=name: seen.update({name: evidence.x_0}) or evidence.observation.pinv
        )
    for arm in arms(TINY, "inpaint"):
        make(direct, restoration.denoiser).mu(arm, "inpaint", "test")
    assert {name for name, x_0 in seen.items() if x_0 is not None} == {"oracle"}


@pytest.mark.numerics
def test_an_image_gets_the_same_result_in_any_company(denoiser, restoration):
    """The quality numbers of an image do not depend on how many others are restored with it."""
    fewer = make(direct, denoiser, dataclasses.replace(TINY, images=2))
    for arm, setting in (
        (Arm.named("noise"), Setting(4, injection("none"), 999, eta=1.0, travel=2)),
        (Arm.named("noise"), Setting(12, injection("none"), 999, "daps", eta=1.0, travel=2, samples=3)),
        (DIP, Setting(2, injection("start"), 400)),
        (DIP, Setting(4, injection("start"), 400, samples=2)),
    ):
        a = restoration.cell_with("inpaint", arm, setting).scores["psnr"][:2]
        b = fewer.cell_with("inpaint", arm, setting).scores["psnr"]
        assert a == pytest.approx(b, abs=0.01)


def test_the_same_command_gives_the_same_numbers(denoiser, restoration, tmp_path):
    again = make(Store(tmp_path).measured, denoiser)
    for arm, budget in ((Arm.named("noise"), 4), (DIP, 2)):
        assert restoration.cell("inpaint", arm, budget).scores == again.cell("inpaint", arm, budget).scores
    other = make(Store(tmp_path).measured, denoiser, seed=1)
    assert other.cell("inpaint", DIP, 2).scores != restoration.cell("inpaint", DIP, 2).scores
    assert other.tuned(DIP, "inpaint", 2) == restoration.tuned(DIP, "inpaint", 2)  # repeats share the settings


def test_a_control_and_a_dip_alone_are_chosen_by_their_own_score(restoration):
    """The validation score of a cell is the PSNR of that very prior, at that budget, on the validation images."""
    x_0, observation = restoration.fits.images("validation").x_0, restoration.fits.observation("inpaint", "validation")
    listed = [arm for arm, budget in restoration.cells("inpaint") if budget == 0]
    assert {arm.label for arm in listed} >= {"blur", "mean_colour", "dip deep_decoder 6 ema", "dip deep_decoder es-wmv"}
    for arm in listed:
        cell = restoration.cell("inpaint", arm, 0)
        if arm.leak != "none":
            assert not cell.validation
            continue
        mu = restoration.mu(cell.arm, "inpaint", "validation").images
        for judge, own in score(observation.consistent(mu).clamp(-1, 1), x_0, restoration.judges).items():
            assert cell.validation[judge] == pytest.approx(sum(own) / len(own), abs=1e-4)
    scores = [restoration.cell("inpaint", Arm.named(name), 2).validation for name in ("blur", "mean_colour")]
    assert scores[0] != scores[1]


def test_a_budget_that_fits_below_no_step_is_refused(restoration):
    wide = make(direct, restoration.denoiser, dataclasses.replace(TINY, t0s=(50,), budgets=(100,), samples=(1,)))
    with pytest.raises(InputError, match=r"dip deep_decoder 6 runs at no budget of \(100,\) on inpaint"):
        wide.best_budget(DIP, "inpaint")


def test_results_are_found_again(cache, denoiser, restoration):
    restoration.cell("inpaint", DIP, 2)
    ran = []
    make(Store(cache).measured, denoiser).cell("inpaint", DIP, 2, run=lambda work: (ran.append(1), work()))
    assert not ran


def test_arms_tuned_as_one_batch_choose_what_they_choose_alone(restoration):
    x_0 = restoration.fits.images("validation").x_0
    seeds = restoration.fits.rng("validation", "inpaint", "sample").seeds
    together = restoration.alike(Arm.named("blur"), "inpaint", 2)
    assert Arm.named("pinv") in together and Arm.named("noise") not in together
    assert len(restoration.alike(DIP, "inpaint", 2)) == 3  # two durations and the untrained: one fit
    observation, (judge, *_) = restoration.fits.observation("inpaint", "validation"), restoration.judges
    for arm in (*together, *restoration.alike(DIP, "inpaint", 2)):
        settings, mu = restoration.settings(arm, "inpaint", 2), restoration.mu(arm, "inpaint", "validation").images
        (alone,) = tune(restoration.denoiser, observation, [mu], x_0, settings, seeds, [judge])[judge.name]
        if arm != restoration.with_parameters(arm, "inpaint")[judge.name]:
            continue  # with the parameters that another judge chose
        found = restoration.tuned(arm, "inpaint", 2)
        assert found.setting == settings[best(alone, judge.higher_is_better)]
        assert found.validation == pytest.approx(alone[best(alone, judge.higher_is_better)], abs=0.01)


def test_each_judge_has_its_own_choice_and_what_they_agree_on_is_one_cell(restoration):
    """Every cell is what its judges chose among the same trials, and no judge is left without one."""
    seen = set()
    for arm, budget in restoration.cells("inpaint"):
        cells = restoration.cells_at("inpaint", arm, budget)
        assert sorted(judge for cell in cells for judge in cell.judges) == sorted(TINY.judges)
        assert len({(cell.arm, cell.setting) for cell in cells}) == len(cells)
        seen.add(len(cells))
        for cell in cells:
            assert set(cell.validation) == (set(TINY.judges) if arm.leak == "none" else set())
    assert seen == {1, 2}


def test_only_cells_that_a_table_shows_or_that_perception_judges_are_looked_at_by_it(restoration):
    setting, arm = Setting(1, injection("start"), 200), DIP
    made = {
        case: set(restoration.cell_with("inpaint", arm, setting, judges=judges, chosen=chosen).scores)
        for case, judges, chosen in (
            ("of a grid", (), ()), ("by PSNR, not shown", ("psnr",), ()), ("by PSNR, shown", ("psnr",), ("psnr",)),
            ("by perception", ("st_lpips",), ()),
        )
    }  # fmt: skip
    assert {case: "st_lpips" in names for case, names in made.items()} == {
        "of a grid": False, "by PSNR, not shown": False, "by PSNR, shown": True, "by perception": True
    }  # fmt: skip
    assert all({"psnr", "ssim"} <= names for names in made.values())
    perception = make(direct, restoration.denoiser, replace(TINY, judges=("st_lpips",)))
    assert "st_lpips" in perception.cell_with("inpaint", Arm.named("pinv"), setting).scores, "the primary judge always"


def test_a_setting_that_was_tuned_on_another_arm_is_scored_on_its_own(restoration):
    """Every treatment may be the one that a verdict tests: it is chosen by its own validation score."""
    skip = Arm.named("dip", "skip", TINY.durations(Recipe("skip"))[-1])
    found = restoration.tuned(skip, "inpaint", 2)
    assert found.setting == restoration.tuned(DIP, "inpaint", 2).setting
    own = restoration.cell("inpaint", skip, 2).validation["psnr"]
    assert own == found.validation != restoration.tuned(DIP, "inpaint", 2).validation


def test_the_best_are_offered_the_money_and_spend_it(restoration):
    leaders = restoration.leaders("inpaint", "psnr", "control")
    means = [max(restoration.tuned(a, "inpaint", b).validation for b in (0, 1, 2)) for a in leaders]
    assert means == sorted(means, reverse=True) and len(leaders) > 5
    for role in ("control", "treatment"):
        for cell in restoration.offered("inpaint", role, 0, 8):
            assert cell.nfe == cell.setting.nfe == 8 and cell.arm.role == role
            assert cell.setting.samples > 1 or cell.setting.nfe // cell.setting.travel > 2
            assert set(cell.judges) <= set(TINY.judges) and cell.chosen == cell.judges


def test_a_setting_on_the_edge_of_what_was_offered_is_said_so(restoration):
    start = injection("start")
    assert edges(DIP, Setting(2, start, 50), TINY) == ("t0 50, the smallest offered", "6 iterations, the longest fit")
    assert edges(Arm.named("blur"), Setting(2, start, 200), TINY) == ("t0 200, the largest offered",)
    between = dataclasses.replace(TINY, t0s=(2, 50, 200))
    assert edges(Arm.named("blur"), Setting(2, start, 50), between) == ()
    assert edges(Arm.named("noise"), Setting(20), TINY) == ("20 evaluations, the most offered",)


def test_another_denoiser_keeps_the_fits_and_drops_the_samples(restoration):
    weak = Restoration(restoration.fits, open_denoiser("unet:early"))
    assert weak.fits.fit("inpaint", "deep_decoder") is restoration.fits.fit("inpaint", "deep_decoder")
    setting = Setting(2, injection("none"), 999)
    assert weak.cell_with("inpaint", Arm.named("noise"), setting).scores != (
        restoration.cell_with("inpaint", Arm.named("noise"), setting).scores
    )


def test_the_oracle_is_an_upper_bound_of_starts_and_shuffling_hurts(restoration):
    setting = Setting(2, injection("start"), 200)
    psnr = {
        name: sum(restoration.cell_with("inpaint", Arm.named(name, *rest), setting).scores["psnr"])
        for name, *rest in (("oracle",), ("dip", "deep_decoder", 6), ("shuffled", "deep_decoder", 6), ("mean_colour",))
    }
    assert psnr["oracle"] == max(psnr.values())
    assert psnr["shuffled"] < psnr["oracle"]


@pytest.mark.parametrize("name", ["pinv", "blur", "mean_colour", "bicubic", "matched"])
def test_controls_agree_with_y_and_know_no_more(name, restoration):
    for task in ("inpaint", "inpaint_box", "super_resolution_x4", "denoise_25"):
        observation = restoration.fits.observation(task, "test")
        if not prior(name).applies(observation):
            continue
        mu = prior(name).mu(Evidence(observation))
        assert mu.shape == restoration.fits.images("test").x_0.shape and mu.isfinite().all()
        if observation.consistency == "projection":
            assert torch.allclose(observation.operator.A(mu), observation.y, atol=1e-5)


def test_blur_fills_holes_with_what_surrounds_them(restoration):
    x_0 = torch.full((2, 3, 32, 32), 0.3)
    from dipddpm.tasks import task

    for name in ("inpaint", "inpaint_box"):
        observation = task(name).observe(x_0, ImageRng([0, 1]))
        for control in ("blur", "mean_colour"):
            assert torch.allclose(prior(control).mu(Evidence(observation)), x_0, atol=1e-4)


def test_nothing_to_answer_with(restoration):
    with pytest.raises(InputError, match="there is no prior"):
        restore(
            restoration.denoiser, restoration.fits.observation("inpaint", "test"), None, Setting(0), ImageRng([0, 1, 2])
        )


def test_score_has_every_metric(restoration):
    x = restoration.fits.images("test").x_0
    assert score(x, x)["psnr"] == [100.0] * 3 and set(score(x, x)) == set(metrics())
