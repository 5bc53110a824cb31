"""PSNR."""

from __future__ import annotations

from torch import Tensor

from dipddpm.metrics import Metric, in_chunks


class Psnr(Metric):
    """-10 log10 of the mean squared error over pixels and colours, data range 1.

    At most 100 dB, which equal images get, so that a mean exists.
    """

    name = "psnr"
    unit = "dB"
    definition = "data range 1, mean over pixels and colours, one value per image, at most 100"

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        return -10 * in_chunks(_mean_squared_error, x_hat, x_0).clamp(min=1e-10).log10()


def _mean_squared_error(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().flatten(1).mean(1)
