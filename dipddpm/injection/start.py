"""start: noise the prior to an intermediate step and go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


class Start(Injection):
    """x_t0 = sqrt(alpha_bar_t0) mu + sigma_t0 eps.

    SDEdit (Meng et al. 2108.01073), come-closer-diffuse-faster (Chung et al. 2112.05146), ES-DDPM (2205.12524).
    """

    name = "start"
    starts_at_T: ClassVar[bool] = False

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        assert mu is not None
        return schedule.q_sample(mu, torch.full((len(mu),), t0), rng.randn(*shape)), t0

    def t0s(self, schedule: Schedule, sigma: float, grid: Sequence[int]) -> list[int]:
        return [t0 for t0 in grid if t0 < schedule.T]
