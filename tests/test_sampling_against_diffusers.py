"""Step for step against the schedulers of diffusers: same betas, network, start and noise.

In double precision, since two libraries round apart: what many steps make of that in single precision is as much as a
small fault of a formula, and differs from CPU to CPU.
"""

from __future__ import annotations

import pytest
import torch
from numerics import assert_same_to_rounding, growth_of
from torch import Tensor, nn

from dipddpm.rng import ImageRng
from dipddpm.sampling import sample_ddim, sample_ddpm, sample_dpmpp_2m
from dipddpm.schedule import Schedule

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: it is only the second opinion here")

SCHEDULE = Schedule.linear()
SEEDS = [11, 12]

# Its own, about a conversion inside diffusers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def double_precision():
    """Networks, starts and noise are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class RandomNetwork:
    """A small untrained network that predicts v, put as eps = sigma x + sqrt(abar) v (2202.00512, appendix D).

    The x_0 of an untrained eps would be 160 times too large at t = 999, and the comparison one of rounding errors.
    """

    schedule = SCHEDULE

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        for p in self.net.parameters():
            p.data = 0.3 * torch.randn(p.shape, generator=generator)
        self.states: list[Tensor] = []

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        self.states.append(x_t)
        abar = SCHEDULE.abar(t)
        time = torch.full_like(x_t[:, :1], t / SCHEDULE.T)
        return (1 - abar) ** 0.5 * x_t + abar**0.5 * self.net(torch.cat([x_t, time], dim=1))


def ours(sample, count: int, x_T: Tensor | None = None, **options) -> list[Tensor]:
    """The states after each step."""
    model = RandomNetwork()
    x_T = ImageRng([1, 2]).randn(3, 8, 8) if x_T is None else x_T
    x_0 = sample(model, x_T, SCHEDULE.steps(count), ImageRng(SEEDS), **options)
    return [*model.states[1:], x_0]


def theirs(scheduler, count: int, **options) -> list[Tensor]:
    """The states after each step; an option that is a function is called anew at every step."""
    scheduler.set_timesteps(count)
    assert scheduler.timesteps.tolist() == SCHEDULE.steps(count)
    if hasattr(scheduler, "sigmas"):
        abar = SCHEDULE.alpha_bar[scheduler.timesteps]
        made, scheduler.sigmas = scheduler.sigmas, torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1)])
        torch.testing.assert_close(made, scheduler.sigmas.float(), rtol=2e-3, atol=0)  # 6e-4 of 1 - alpha_bar and more
    model, x, states = RandomNetwork(), ImageRng([1, 2]).randn(3, 8, 8), []
    for t in scheduler.timesteps.tolist():
        now = {name: option() if callable(option) else option for name, option in options.items()}
        x = scheduler.step(model.eps(x, t), t, x, **now).prev_sample
        states.append(x)
    return states


def scheduler(kind: str, **config):
    """A scheduler with our betas.

    Convention: diffusers keeps alpha_bar, and the sigmas that DPM-Solver++ makes of it, in float32, where 1 - alpha_bar
    at t = 0 is off by 6e-4, and ours is kept in float64. A thousand steps turn that into some 1e-4, so after the check
    it is given the same numbers in float64.
    """
    made = getattr(diffusers, kind)(
        trained_betas=SCHEDULE.beta.tolist(), prediction_type="epsilon", timestep_spacing="trailing", **config
    )
    torch.testing.assert_close(made.alphas_cumprod, SCHEDULE.alpha_bar.float(), rtol=2e-5, atol=0)
    made.alphas_cumprod = SCHEDULE.alpha_bar
    return made


def assert_same(
    sample, count: int, others: list[Tensor], dtype=torch.float64, a_step: int = 30, beyond: float = 0.0, **options
) -> None:
    """A step takes some 30 roundings: 4 weighted sums of 2, and the network's chains of 36 and 72, whose terms are
    smaller."""
    states = ours(sample, count, **options)
    assert len(states) == len(others)

    def end(x_T: Tensor) -> Tensor:
        return ours(sample, count, x_T, **options)[-1]

    scale = max(float(x.abs().max()) for x in states)
    growth = growth_of(end, ImageRng([1, 2]).randn(3, 8, 8), scale, seeds=[0])
    for i, (x, other) in enumerate(zip(states, others, strict=True)):
        of = {"operations": a_step * (i + 1), "scale": scale, "growth": growth, "dtype": dtype, "beyond": beyond}
        assert_same_to_rounding(x, other, what=f"after step {i}:", **of)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("count", [1, 12, 40, 1000])
@pytest.mark.numerics
def test_ddpm(count, clip, monkeypatch):
    # "fixed_small" is the posterior variance. After the last step of a respaced run diffusers still adds noise of
    # standard deviation 1e-10: six of those are allowed.
    reference = scheduler("DDPMScheduler", variance_type="fixed_small", clip_sample=clip)
    noise = ImageRng(SEEDS)
    draws = "diffusers.schedulers.scheduling_ddpm.randn_tensor"  # by which it would draw from a generator of torch
    monkeypatch.setattr(draws, lambda shape, **_: noise.randn(*shape[1:]))
    assert_same(sample_ddpm, count, theirs(reference, count), beyond=6e-10, clip=clip)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 10, 40, 200])
@pytest.mark.numerics
def test_ddim(count, eta, clip):
    # diffusers takes the previous step to be t - T // count, so only counts that divide T visit the steps it thinks.
    # set_alpha_to_one: the last step leads to the clean image, as ours does, not to t = 0.
    # use_clipped_model_output: eps is recomputed from the clipped x_0, as ours is.
    reference = scheduler("DDIMScheduler", clip_sample=clip, set_alpha_to_one=True)
    noise = ImageRng(SEEDS)
    states = theirs(
        reference, count, eta=eta, use_clipped_model_output=True, variance_noise=lambda: noise.randn(3, 8, 8)
    )
    assert_same(sample_ddim, count, states, eta=eta, clip=clip)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("count", [1, 2, 12, 40, 100])
@pytest.mark.numerics
def test_dpmpp_2m(count, clip):
    # Dynamic thresholding with a largest value of 1 is plain clipping to [-1, 1]; there is no option by that name.
    reference = scheduler(
        "DPMSolverMultistepScheduler", algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
        lower_order_final=True, final_sigmas_type="zero", thresholding=clip, sample_max_value=1.0,
    )  # fmt: skip
    # Its step works in float32 whatever it is given: a sum of three products, and the state that is kept.
    assert_same(sample_dpmpp_2m, count, theirs(reference, count), torch.float32, a_step=8, clip=clip)
