"""Restoring a batch of observations: a prior enters the reverse diffusion, which is held to y; and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection import Injection, check_trained_for
from dipddpm.injection.none import NoInjection
from dipddpm.metrics import Metric, metrics
from dipddpm.rng import ImageRng
from dipddpm.sampling import SAMPLERS, sample_ddim
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Setting:
    """How a reverse diffusion is run. All that an arm may tune, and all that decides its cost.

    Attributes:
        nfe: network evaluations per image; 0 means no diffusion at all, the prior is the answer.
        injection: how the prior enters.
        t0: the step it enters at.
        sampler: ``ddim``, ``ddpm`` or ``dpmpp_2m``.
        eta: of DDIM: 0 deterministic, 1 ancestral; 0 for the other samplers, which take none.
        travel: passes over each step (time travel); divides ``nfe``.
        strength: of the proximal data consistency, where y is noisy.
        held: the predicted x_0 is held to y at every step; without it, y decides nothing after the start.

    Raises:
        InputError: evaluations that cannot be shared out, or an eta that the sampler cannot have.
    """

    nfe: int
    injection: Injection = field(default_factory=NoInjection)
    t0: int | None = None
    sampler: str = "ddim"
    eta: float = 0.0
    travel: int = 1
    strength: float = 1.0
    held: bool = True

    def __post_init__(self) -> None:
        if self.nfe % self.travel:
            raise InputError(f"{self.nfe} evaluations cannot be shared out over {self.travel} passes")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta goes from 0 (deterministic) to 1 (ancestral), got {self.eta:g}")
        if self.eta and self.sampler != "ddim":
            raise InputError(f"eta {self.eta:g} is for the sampler ddim: {self.sampler} takes none")

    def check(self, schedule: Schedule) -> None:
        """Raise InputError unless ``t0`` is a step of the schedule and the evaluations fit below it."""
        if self.nfe:
            schedule.steps(self.nfe // self.travel, self.t0 if self.injection.uses_mu else None)

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
        return self.denoiser.eps(self.injection.condition(x_t, torch.full((len(x_t),), t), self.mu, self.schedule), t)


def restore(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """Restore a batch of observations from the prior ``mu`` (N, 3, H, W) in [-1, 1], or from noise.

    Where memory is short the batch is halved, which changes nothing but rounding.

    Returns:
        x_hat (N, 3, H, W) in [-1, 1], and the network evaluations per image that it took.

    Raises:
        InputError: no evaluations and no prior; a setting that the schedule has no room for; a denoiser that was
            trained for another injection.
    """
    if setting.nfe == 0:
        if mu is None:
            raise InputError("0 evaluations leave nothing to answer with: there is no prior")
        return observation.consistent(mu).clamp(-1, 1), 0
    check_trained_for(denoiser.injection, setting.injection, "the denoiser")
    setting.check(denoiser.schedule)

    def sample(images: slice) -> tuple[Tensor, int]:
        with rng.attempt(images) as own:
            return _sample(denoiser, observation.part(images), None if mu is None else mu[images], setting, own)

    sampled = in_batches(stage(denoiser, rng.device), len(rng), sample)
    return joined([x_hat for x_hat, _ in sampled]), sampled[0][1]


def stage(denoiser: Denoiser, device: torch.device) -> str:
    """How messages about memory name the sampling with a denoiser."""
    return f"sampling ({type(denoiser).__name__}, {denoiser.size} px, {device.type})"


def _sample(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """:func:`restore` of the images that fit into memory at once."""
    schedule, counted = denoiser.schedule, Counted(denoiser, setting.injection, mu)
    x_t, t = setting.injection.start(mu, (3, denoiser.size, denoiser.size), schedule, setting.t0 or 0, rng)
    steps = schedule.steps(setting.nfe // setting.travel, t)

    def refine(x_0: Tensor, at: int) -> Tensor:
        return observation.refine(x_0, schedule.snr(at), setting.strength)

    sampler = partial(sample_ddim, eta=setting.eta) if setting.sampler == "ddim" else SAMPLERS[setting.sampler]
    held = refine if setting.held else None
    x_hat = sampler(counted, x_t, steps, rng, refine=held, clip=denoiser.clip, travel=setting.travel)
    return observation.consistent(x_hat).clamp(-1, 1), counted.nfe


def score(x_hat: Tensor, x_0: Tensor, by: Sequence[Metric] | None = None) -> Mapping[str, list[float]]:
    """{metric: one value per image}, by every registered metric unless some are named."""
    chosen = [metric() for metric in metrics().values()] if by is None else by
    return {metric.name: metric(x_hat, x_0).tolist() for metric in chosen}
