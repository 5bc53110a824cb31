"""raw: the prior put at the last step as if it were noise. A common mistake, kept as a warning."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule

WEIGHT = 0.5  # of the prior; published code uses between 0.1 and 1


class Raw(Injection):
    """x_T = w mu + (1 - w) eps, unscaled: no step of the forward process has such a marginal, the network has never
    seen its like."""

    name = "raw"
    ablation: ClassVar[bool] = True

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        assert mu is not None
        return WEIGHT * mu + (1 - WEIGHT) * rng.randn(*shape), schedule.T - 1
