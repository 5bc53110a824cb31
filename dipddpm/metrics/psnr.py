"""PSNR."""

from __future__ import annotations

from torch import Tensor

from dipddpm.metrics import Metric, unit_range


class Psnr(Metric):
    """-10 log10 of the mean squared error over pixels and colours, data range 1.

    At most 100 dB, which equal images get, so that a mean exists.
    """

    name = "psnr"
    unit = "dB"
    definition = "data range 1, mean over pixels and colours, one value an image, at most 100"

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        error = (unit_range(x_hat) - unit_range(x_0)).square().flatten(1).mean(1)
        return -10 * error.clamp(min=1e-10).log10()
