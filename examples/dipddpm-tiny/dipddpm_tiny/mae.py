"""mae: a number per image."""

from torch import Tensor

from dipddpm.metrics import Metric, unit_range


class Mae(Metric):
    """The mean absolute error, on images in [0, 1]."""

    name = "mae"  # the column that tables show
    unit = ""
    definition = "mean absolute error over pixels and colours, data range 1"
    higher_is_better = False

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        """(N,) for images (N, 3, H, W) in [-1, 1]."""
        return (unit_range(x_hat) - unit_range(x_0)).abs().flatten(1).mean(1)
