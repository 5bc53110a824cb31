"""residual: the network learns what the prior lacks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


class Residual(Injection):
    """PriorGrad (Lee et al. 2106.06406) with Sigma = I: the diffusion of x_0 - mu, to which mu is added back.

    Its state r_t = sqrt(alpha_bar_t) (x_0 - mu) + sigma_t eps is the plain x_t less sqrt(alpha_bar_t) mu, and every
    sampler here is linear in (x_t, x_0). So the state is kept plain and only the network sees r_t: the x_0 that follows
    from its eps has mu in it already, and clipping, data consistency and samplers stay what they are in every other
    arm. That the two forms are one is a test (forward, loss, reverse). Sampling begins at r_T ~ N(0, I).
    """

    name = "residual"
    trained: ClassVar[bool] = True
    sees_mu: ClassVar[bool] = True

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        assert mu is not None
        last = schedule.T - 1
        return schedule.abar(last) ** 0.5 * mu + rng.randn(*shape), last

    def condition(self, x_t: Tensor, t: Tensor, mu: Tensor | None, schedule: Schedule) -> Tensor:
        assert mu is not None
        return torch.addcmul(x_t, schedule.sqrt_abar(t, x_t), mu, value=-1)
