"""matched: a noisy observation is already a state of the diffusion. Exact and free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


class Matched(Injection):
    """x_t* = sqrt(alpha_bar_t*) y at the t* where the diffusion is as noisy as y; no noise is added.

    y = x_0 + sigma n is x_t* / sqrt(alpha_bar_t*) exactly when sqrt((1 - alpha_bar_t*) / alpha_bar_t*) = sigma
    (used for denoising by DDRM, Kawar et al. 2201.11793).
    """

    name = "matched"
    starts_at_T: ClassVar[bool] = False

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        assert mu is not None
        return schedule.abar(t0) ** 0.5 * mu, t0

    def t0s(self, schedule: Schedule, sigma: float, grid: Sequence[int]) -> list[int]:
        return [schedule.matched_step(sigma)]
