"""The main path on one page: observe, fit, inject, sample, score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection import injection
from dipddpm.metrics import metrics
from dipddpm.rng import ImageRng
from dipddpm.sampling import sample_ddim
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Setting:
    """How a reverse diffusion is run. All that an arm may tune, and all that decides its cost.

    Attributes:
        nfe: network evaluations an image; 0 means no diffusion at all, the prior is the answer.
        injection: how the prior enters.
        t0: the step it enters at (ignored by ``none``, which starts at T - 1).
        eta: 0 deterministic DDIM, 1 ancestral DDPM.
        travel: passes over each step (time travel); divides ``nfe``.
    """

    nfe: int
    injection: str = "none"
    t0: int | None = None
    eta: float = 0.0
    travel: int = 1

    def steps(self, schedule: Schedule) -> list[int]:
        """The steps visited, so that ``len(steps) * travel == nfe``."""
        if self.nfe % self.travel:
            raise InputError(f"{self.nfe} evaluations cannot be shared out over {self.travel} passes")
        return schedule.steps(self.nfe // self.travel, self.t0)


class Counted:
    """A denoiser that counts its evaluations: the NFE in a record are those that happened."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.schedule, self.nfe = denoiser, denoiser.schedule, 0

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """As :meth:`Denoiser.eps`."""
        self.nfe += 1
        return self.denoiser.eps(x_t, t)


def restore(
    denoiser: Denoiser, observation: Observation, mu: Tensor | None, setting: Setting, rng: ImageRng
) -> tuple[Tensor, int]:
    """Restore a batch of observations from the prior ``mu`` (N, 3, H, W) in [-1, 1], or from noise.

    Returns:
        x_hat (N, 3, H, W) in [-1, 1], and the network evaluations an image that it took.
    """
    if setting.nfe == 0:
        if mu is None:
            raise InputError("0 evaluations leave nothing to answer with: there is no prior")
        return observation.consistent(mu).clamp(-1, 1), 0
    counted = Counted(denoiser)
    shape = (3, denoiser.size, denoiser.size)
    x_t, t = injection(setting.injection).start(mu, shape, denoiser.schedule, setting.t0 or 0, rng)
    steps = setting.steps(denoiser.schedule)
    assert steps[0] == t, "the first visited step must be the one that the state stands at"
    x_hat = sample_ddim(counted, x_t, steps, rng, eta=setting.eta, travel=setting.travel, refine=observation.consistent)
    return x_hat.clamp(-1, 1), counted.nfe


def score(x_hat: Tensor, x_0: Tensor) -> Mapping[str, list[float]]:
    """Every metric, one value an image."""
    return {name: metric()(x_hat, x_0).tolist() for name, metric in metrics().items()}
