"""Injections that a network is trained for: the identity they rest on, the same beginning for all, the prior in use."""

import pytest
import torch

from dipddpm.checkpoints import save_checkpoint
from dipddpm.cli import main
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.errors import InputError
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.experiments.training_arms import PLAIN, TrainingArm
from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.injection import injection, injections
from dipddpm.measure.store import Store
from dipddpm.prior_sets import PriorSettings, make_priors, observe
from dipddpm.priors import priors
from dipddpm.restore import Counted, Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.sampling import SAMPLERS
from dipddpm.schedule import Schedule
from dipddpm.tasks import task
from dipddpm.training import Training, TrainingSettings, initial_network
from dipddpm.training_loss import ddpm_loss, draw_batch

SCHEDULE, SHAPE, N = Schedule.linear(), (3, 16, 16), 3
CONFIG = {"size": 16, "channels": (8, 16), "attention_at": (8,)}
TRAINED = sorted(name for name, kind in injections().items() if kind.trained)


def images(seed=0):
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def loud(channels=3):
    """A network that says something, as no new one does."""
    torch.manual_seed(7)
    model = initial_network(CONFIG, 0, channels)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.08)
    return model.eval()


class Shifted:
    """PriorGrad as it is written: a diffusion of x_0 - mu, with a network that sees its state r_t."""

    schedule = SCHEDULE

    def __init__(self, network):
        self.network = network

    def eps(self, r_t, t):
        with torch.no_grad():
            return self.network(r_t, torch.full((len(r_t),), t))


@pytest.mark.numerics
def test_identity_forward_what_the_network_sees_is_the_marginal_of_the_residual():
    x_0, mu, eps = images(), images(1), torch.randn(N, *SHAPE)
    t = torch.tensor([3, 400, 999])
    shown = injection("residual").condition(SCHEDULE.q_sample(x_0, t, eps), t, mu, SCHEDULE)
    assert torch.allclose(shown, SCHEDULE.q_sample(x_0 - mu, t, eps), atol=1e-6)


@pytest.mark.numerics
def test_identity_loss_that_of_the_plain_diffusion_of_the_residual():
    x_0, mu, eps, t, model = images(), images(1), torch.randn(N, *SHAPE), torch.tensor([3, 400, 999]), loud()
    with torch.no_grad():
        ours = ddpm_loss(model, SCHEDULE, x_0, t, eps, injection("residual"), mu)
        assert torch.allclose(ours, ddpm_loss(model, SCHEDULE, x_0 - mu, t, eps), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.numerics
def test_identity_reverse_mu_added_back_at_the_end(name):
    mu, model, steps = 0.5 * images(1), loud(), SCHEDULE.steps(12)
    x_t, t = injection("residual").start(mu, SHAPE, SCHEDULE, 0, ImageRng(range(N)))
    r_t = ImageRng(range(N)).randn(*SHAPE)
    assert t == steps[0] and torch.allclose(x_t - SCHEDULE.abar(t) ** 0.5 * mu, r_t)
    denoiser = UNetDenoiser.of(model, SCHEDULE, injection("residual"), "", "cpu")
    ours = SAMPLERS[name](Counted(denoiser, injection("residual"), mu), x_t, steps, ImageRng(range(9, 12)), clip=False)
    theirs = mu + SAMPLERS[name](Shifted(model), r_t, steps, ImageRng(range(9, 12)), clip=False)
    assert torch.allclose(ours, theirs, atol=2e-3 * theirs.abs().max().item())


def test_a_shift_of_the_noise_alone_changes_nothing():
    """Noise with a known mean, as some papers have it: shown to the network without its shift it is the plain DDPM."""
    x_0, delta, eps, t, model = images(), images(2), torch.randn(N, *SHAPE), torch.tensor([3, 400, 999]), loud()
    m_t = SCHEDULE.sigma(t, x_0) * delta
    with torch.no_grad():
        shifted = model(SCHEDULE.q_sample(x_0, t, eps + delta) - m_t, t) - eps
        assert torch.allclose(shifted.square().flatten(1).mean(1), ddpm_loss(model, SCHEDULE, x_0, t, eps), rtol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_every_arm_begins_as_the_same_network_and_draws_the_same(name):
    entry, pixels = injection(name), torch.randint(256, (20, *SHAPE), dtype=torch.uint8)
    plain, wide = initial_network(CONFIG, 5), initial_network(CONFIG, 5, entry.channels)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, wide.state_dict()[key][:, :3] if key == "stem.weight" else wide.state_dict()[key])
    assert not wide.state_dict()["stem.weight"][:, 3:].any()  # what is new says nothing at first
    mu = torch.rand(20, *SHAPE)
    with_mu, without = draw_batch(pixels, SCHEDULE, 8, 5, 3, mu), draw_batch(pixels, SCHEDULE, 8, 5, 3)
    assert all(torch.equal(a, b) for a, b in zip(with_mu[:3], without[:3], strict=True))


def test_a_prior_is_drawn_and_mirrored_with_its_image():
    pixels = torch.randint(256, (20, *SHAPE), dtype=torch.uint8)
    batch = draw_batch(pixels, SCHEDULE, 16, 0, 0, pixels.float() / 127.5 - 1)
    assert torch.equal(batch.mu, batch.x_0)


@pytest.mark.parametrize("name", [n for n in TRAINED if injections()[n].sees_mu])
def test_the_prior_is_used_in_training_and_in_sampling(name):
    entry, pixels = injection(name), torch.randint(256, (20, *SHAPE), dtype=torch.uint8)
    mu = 0.8 * torch.ones(20, *SHAPE)
    settings = TrainingSettings(6, batch=8, warmup=1, lr=3e-3)
    states = []
    for prior in (mu, -mu):
        training = Training(initial_network(CONFIG, 0, entry.channels), SCHEDULE, settings, entry)
        for _ in range(3):
            training.update(pixels, prior)
        states.append(training)
    a, b = (state.model.state_dict() for state in states)
    assert any(not torch.equal(a[key], b[key]) for key in a), "training does not see the prior"
    denoiser = UNetDenoiser.of(loud(entry.channels), SCHEDULE, entry, "", "cpu")
    observation = task("inpaint").observe(images(), ImageRng(range(N)))
    x_a, x_b = (
        restore(denoiser, observation, prior, Setting(4, entry, SCHEDULE.T - 1), ImageRng(range(N)))[0]
        for prior in (images(1), images(1).roll(1, dims=0))
    )
    assert not torch.allclose(x_a, x_b, atol=1e-3), "swapping the priors changes nothing"


def test_weights_learn_the_images_they_are_given_and_nothing_else_moves_them():
    model, observation = initial_network(CONFIG, 0), task("super_resolution").observe(images(), ImageRng(range(N)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    injection("none").initialise(model, observation, SCHEDULE, ImageRng(range(N)), 5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    def misfit():
        z = ImageRng(range(N)).randn(*SHAPE)
        with torch.no_grad():
            return (observation.operator.A(model(z, torch.full((N,), 999))) - observation.y).square().mean().item()

    untrained = misfit()
    injection("weights").initialise(model, observation, SCHEDULE, ImageRng(range(N)), 120)
    assert misfit() < 0.7 * untrained


def test_no_arm_of_a_given_network_chooses_an_injection_that_is_trained_for():
    assert {"residual", "concat", "weights"} <= set(TRAINED)
    assert not any(kind.injection.trained for kind in priors().values())


def checkpoint(path, name, channels):
    model = loud(channels)
    save_checkpoint(path, model.state_dict(), {"model": model.config, "T": 1000, "injection": name})
    return path


def test_a_checkpoint_serves_the_injection_that_it_was_trained_for(tmp_path):
    residual = checkpoint(tmp_path / "residual.safetensors", "residual", 3)
    assert UNetDenoiser(str(residual), injection="residual").injection == injection("residual")
    with pytest.raises(
        InputError,
        match=r"residual\.safetensors was trained with injection 'residual'.* serve 'none'; restore with it in Python, "
        r"from priors made as those of its training: "
        r"UNetDenoiser\(FILE, injection='residual'\) and Setting\(NFE, injection\('resid",
    ):
        open_denoiser(f"unet:{residual}")
    with pytest.raises(InputError, match=r"trained with injection 'residual'.* serve 'concat'"):
        UNetDenoiser(str(residual), injection="concat")
    warm = checkpoint(tmp_path / "warm.safetensors", "weights", 3)
    assert open_denoiser(f"unet:{warm}").injection == injection("weights")  # once trained, a plain network
    wrong = checkpoint(tmp_path / "wrong.safetensors", "concat", 3)
    with pytest.raises(InputError, match=r"wrong\.safetensors: takes 3 channels, injection 'concat' feeds 6"):
        UNetDenoiser(str(wrong), injection="concat")


@pytest.mark.parametrize("name", [n for n in TRAINED if injections()[n].sees_mu])
def test_a_checkpoint_of_the_command_restores_as_its_error_says(name, tmp_path, capsys):
    made = tmp_path / "made.safetensors"
    command = "train --steps 2 --batch 4 --size 16 --channels 8 --held-out 2 --device cpu --prior pinv --task inpaint"
    assert main([*command.split(), "--injection", name, "--out", str(made), "--cache", str(tmp_path)]) == 0
    assert main(["generate", "--denoiser", f"unet:{made}", "--count", "2", "--out", str(tmp_path / "x")]) == 2
    assert f"UNetDenoiser(FILE, injection={name!r}) and Setting(NFE, injection({name!r}))" in capsys.readouterr().err
    pixels = open_dataset("photo-patches", size=16).sample("test", N)
    mu = make_priors(pixels, PriorSettings("pinv", "inpaint"), Store(tmp_path).measured).mu
    denoiser, observation = UNetDenoiser(str(made), injection=name), observe(pixels, "inpaint", 0, "cpu")
    x_hat, nfe = restore(denoiser, observation, mu, Setting(3, injection(name)), ImageRng(range(N)))
    assert x_hat.shape == (N, *SHAPE) and x_hat.isfinite().all() and nfe == 3


def test_initial_weights_belong_to_the_seed_of_their_observations(tmp_path):
    small = profile("smoke").override(
        ["training.images=4", "training.channels=8", "training.updates=1", "training.dip.iterations=2"]
    )

    class Denoiser:
        size, schedule, fingerprint = 16, SCHEDULE, ""

    def begun(arm, tuning_seed):
        """The weights that the training of an arm begins with, and how the store has its state."""
        store, found = Store(tmp_path), []

        def memo(*call, **options):
            found.append(store.measured(*call, **options))
            return found[-1]

        fits = Fits(small.restoration, open_dataset("photo-patches", size=16), memo, seed=1, tuning_seed=tuning_seed)
        state = TrainingRuns(Restoration(fits, Denoiser()), small.training).trained("inpaint", arm, 0)
        return state.tensors["model.stem.weight"], found[-1]

    for fitted_to in ("dip", "other"):
        arm = TrainingArm(injection("weights"), fitted_to=fitted_to)
        (first, _), (second, stored) = (begun(arm, tuning_seed) for tuning_seed in (0, 1))
        assert stored.fresh and not torch.equal(first, second)
        assert not begun(arm, 1)[1].fresh
    assert begun(PLAIN, 0)[1].key == begun(PLAIN, 1)[1].key  # which fits nothing


def test_a_network_is_not_run_with_another_injection():
    denoiser = UNetDenoiser.of(loud(), SCHEDULE, injection("none"), "", "cpu")
    observation = task("inpaint").observe(images(), ImageRng(range(N)))
    with pytest.raises(InputError, match=r"'none': it cannot serve 'residual'; train one for it \(dipddpm train --inj"):
        restore(denoiser, observation, images(1), Setting(2, injection("residual"), 999), ImageRng(range(N)))
    with pytest.raises(InputError, match="injection 'concat' feeds 6 channels, the network takes 3"):
        Training(loud(), SCHEDULE, TrainingSettings(1), injection("concat"))
