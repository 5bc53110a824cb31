"""PSNR."""

from __future__ import annotations

from torch import Tensor

from dipddpm.metrics import Metric, unit_range


class Psnr(Metric):
    """-10 log10 of the mean squared error over pixels and colours, data range 1; infinite for equal images."""

    name = "psnr"
    unit = "dB"
    definition = "data range 1, mean over pixels and colours, one value an image"

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        return -10 * (unit_range(x_hat) - unit_range(x_0)).square().flatten(1).mean(1).log10()
