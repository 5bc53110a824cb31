"""blend: a weighted sum of prior and noise; ``start`` by another name, once scaled and entered where it belongs."""

from __future__ import annotations

from torch import Tensor

from dipddpm.injection.start import Start
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


def weight_at(schedule: Schedule, t0: int) -> float:
    """The w of ``w mu + (1 - w) eps`` whose signal-to-noise ratio is that of step t0: w / (1 - w) = sqrt(snr_t0)."""
    ratio = schedule.snr(t0) ** 0.5
    return ratio / (1 + ratio)


class Blend(Start):
    """(w mu + (1 - w) eps) / sqrt(w^2 + (1 - w)^2), entered at the t0 that w belongs to; equal to ``start`` there."""

    name = "blend"

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        assert mu is not None
        w = weight_at(schedule, t0)
        return (w * mu + (1 - w) * rng.randn(*shape)) / (w**2 + (1 - w) ** 2) ** 0.5, t0
