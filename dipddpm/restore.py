"""Restoring a batch of observations: a prior enters the reverse diffusion, which is held to y; and its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection import Injection, check_trained_for
from dipddpm.injection.none import NoInjection
from dipddpm.metrics import Metric, metrics
from dipddpm.registry import choose
from dipddpm.rng import ImageRng
from dipddpm.sampling import BY_LEVEL, SAMPLERS, WITH_ETA, noise_levels
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Setting:
    """How a reverse diffusion is run. All that an arm may tune, and all that decides its cost.

    Attributes:
        nfe: network evaluations per image, of all its samples together; 0 means no diffusion at all, the prior is the
            answer.
        injection: how the prior enters.
        t0: the step it enters at.
        sampler: ``ddim``, ``ddpm``, ``dpmpp_2m``, ``renoise`` or ``daps``.
        eta: of DDIM, 0 deterministic, 1 ancestral; of renoise, the scale of its noise, above 0; of DAPS, the scale of
            its draws; 0 for the other samplers, which take none.
        travel: passes over each step (time travel); for DAPS, evaluations of the flow per step.
        strength: of the proximal data consistency, where y is noisy.
        held: the predicted x_0 is held to y at every step; without it, y decides nothing after the start.
        samples: independent samples whose mean is the answer. Each has ``nfe / samples`` evaluations, and so
            ``nfe / (samples * travel)`` steps, which must be a whole number.

    Raises:
        InputError: evaluations that cannot be shared out, an unknown sampler, or an eta that it cannot have.
    """

    nfe: int
    injection: Injection = field(default_factory=NoInjection)
    t0: int | None = None
    sampler: str = "ddim"
    eta: float = 0.0
    travel: int = 1
    strength: float = 1.0
    held: bool = True
    samples: int = 1

    def __post_init__(self) -> None:
        choose("sampler", self.sampler, SAMPLERS)
        for name, number in (("travel", self.travel), ("samples", self.samples)):
            if number < 1:
                raise InputError(f"{name} must be at least 1, got {number}")
        if self.nfe % (self.samples * self.travel):
            shares = f"{self.samples} samples of {self.travel}" if self.samples > 1 else f"{self.travel}"
            raise InputError(f"{self.nfe} evaluations cannot be shared out over {shares} passes")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta goes from 0 (deterministic) to 1 (ancestral), got {self.eta:g}")
        if self.eta and self.sampler not in WITH_ETA:
            takers = ", ".join(WITH_ETA)
            raise InputError(f"eta {self.eta:g} is for the samplers {takers}: {self.sampler} takes none")
        if self.sampler == "renoise" and not self.eta:
            raise InputError("renoise adds noise of eta times the level at every step: eta must be above 0, got 0")

    def steps(self, schedule: Schedule, t: int | None) -> list[int]:
        """The steps that each sample visits on its way down from ``t`` (T - 1 where it is None).

        Raises:
            InputError: they do not fit below t.
        """
        count = self.nfe // (self.samples * self.travel)
        if self.sampler in BY_LEVEL:
            return noise_levels(schedule, count, t, least=self.travel - 1 if self.sampler == "daps" else 0)
        return schedule.steps(count, t)

    def check(self, schedule: Schedule) -> None:
        """Raise InputError unless ``t0`` is a step of the schedule and the evaluations of a sample fit below it."""
        if self.nfe:
            self.steps(schedule, self.t0 if self.injection.uses_mu else None)

    def axes(self) -> dict[str, object]:
        """Every part by name, as a record holds it."""
        return {**vars(self), "injection": self.injection.name}


class Counted:
    """A denoiser that is shown what its injection makes of a state, and counts: the NFE in a record are those that
    happened."""

    def __init__(self, denoiser: Denoiser, injection: Injection, mu: Tensor | None):
        self.denoiser, self.injection, self.mu = denoiser, injection, mu
        self.schedule, self.nfe = denoiser.schedule, 0

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """As :meth:`Denoiser.eps`, for a state of the plain diffusion."""
        self.nfe += 1
        steps = torch.full((len(x_t),), t, device=x_t.device)  # made there: a copy would wait for the device
        return self.denoiser.eps(self.injection.condition(x_t, steps, self.mu, self.schedule), t)


def restore(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """Restore a batch of observations from the prior ``mu`` (N, 3, H, W) in [-1, 1], or from noise.

    The answer is the mean of ``setting.samples`` independent samples. Where memory is short the batch is halved, which
    changes nothing but rounding.

    Returns:
        x_hat (N, 3, H, W) in [-1, 1], and the network evaluations per image that it took.

    Raises:
        InputError: no evaluations and no prior; a setting that the schedule has no room for; a denoiser that was
            trained for another injection.
    """
    samples, nfe = restore_samples(denoiser, observation, mu, setting, rng)
    return mean_of(samples, observation), nfe


def restore_samples(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """The samples that :func:`restore` averages, each image's samples in one batch with all others.

    Sample m of an image depends neither on how many there are nor on its neighbours: the first draws from the
    generators of ``rng``, which go on from there, sample m > 0 from its own (:meth:`ImageRng.of_samples`). So the first
    M of them are those of a setting with fewer samples and as many evaluations for each.

    Returns:
        (samples, N, 3, H, W), held to y as the last step leaves them, not clamped; and the network evaluations per
        image, of all samples together, that they took. Without evaluations the prior stands for each sample.

    Raises:
        InputError: as :func:`restore`.
    """
    if setting.nfe == 0:
        if mu is None:
            raise InputError("0 evaluations leave nothing to answer with: there is no prior")
        return mu.expand(setting.samples, *mu.shape), 0
    check_trained_for(denoiser.injection, setting.injection, "the denoiser")
    setting.check(denoiser.schedule)
    M, whole = setting.samples, rng
    if M > 1:
        observation, whole = observation.repeat(M), rng.of_samples(M)
        mu = None if mu is None else mu.repeat(M, 1, 1, 1)

    def sample(images: slice) -> tuple[Tensor, int]:
        with whole.attempt(images) as own:
            return _sample(denoiser, observation.part(images), None if mu is None else mu[images], setting, own)

    sampled = in_batches(stage(denoiser, rng.device), len(whole), sample)
    if M > 1:
        rng.go_on_from(whole)
    return joined([x_hat for x_hat, _ in sampled]).unflatten(0, (M, len(rng))), M * sampled[0][1]


def mean_of(samples: Tensor, observation: Observation) -> Tensor:
    """The answer of some samples (M, N, 3, H, W): their mean, which agrees with a noiseless y and lies in [-1, 1]."""
    mean = samples[0] if len(samples) == 1 else samples.mean(0)
    return observation.consistent(mean).clamp(-1, 1)


def stage(denoiser: Denoiser, device: torch.device) -> str:
    """How messages about memory name the sampling with a denoiser."""
    return f"sampling ({type(denoiser).__name__}, {denoiser.size} px, {device.type})"


def _sample(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """:func:`restore_samples` of as many as fit into memory at once, and the evaluations that each of them took."""
    schedule, counted = denoiser.schedule, Counted(denoiser, setting.injection, mu)
    x_t, t = setting.injection.start(mu, (3, denoiser.size, denoiser.size), schedule, setting.t0 or 0, rng)

    def refine(x_0: Tensor, at: int) -> Tensor:
        return observation.refine(x_0, schedule.snr(at), setting.strength)

    def draw(x_0: Tensor, at: int, scale: float, rng: ImageRng) -> Tensor:
        strength = setting.strength if observation.consistency == "proximal" else 1.0
        return posterior_draw(observation, x_0, ((1 - schedule.abar(at)) / strength) ** 0.5, scale, rng)

    options: dict[str, object] = {"refine": refine} if setting.held else {}
    if setting.sampler in WITH_ETA:
        options["eta"] = setting.eta
    if setting.sampler == "daps" and setting.held:
        options["draw"] = draw
    sample: Callable[..., Tensor] = SAMPLERS[setting.sampler]
    steps = setting.steps(schedule, t)
    return sample(counted, x_t, steps, rng, clip=denoiser.clip, travel=setting.travel, **options), counted.nfe


def posterior_draw(observation: Observation, x_0: Tensor, spread: float, scale: float, rng: ImageRng) -> Tensor:
    """A draw from the posterior of a photograph that is N(x_0, spread^2 I) before y = A x + n is seen.

    ``refine`` gives the mean of that posterior. With noise of the prior's spread added to x_0, and noise of y's own
    added to y, what it gives has the posterior's covariance too (Papandreou & Yuille, "Gaussian sampling by local
    perturbations", NeurIPS 2010).

    Args:
        x_0: (N, 3, H, W).
        spread: in units of the image, whose range is [-1, 1].
        scale: times the deviation from the mean; 0 gives the mean itself and draws nothing.
        rng: one generator per image.
    """
    if scale:
        x_0 = x_0 + scale * spread * rng.randn(*x_0.shape[1:])
        if observation.consistency == "proximal":
            y = observation.y + scale * observation.sigma * rng.randn(*observation.y.shape[1:])
            observation = replace(observation, y=y)
    return observation.refine(x_0, 1 / spread**2)


def score(x_hat: Tensor, x_0: Tensor, by: Sequence[Metric] | None = None) -> Mapping[str, list[float]]:
    """{metric: one value per image}, by every registered metric unless some are named."""
    chosen = [metric() for metric in metrics().values()] if by is None else by
    return {metric.name: metric(x_hat, x_0).tolist() for metric in chosen}
