"""SSIM, with the definition pinned down: at 32 px common ones differ by 0.06."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.metrics import Metric, unit_range

TAPS, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2


class Ssim(Metric):
    """Structural similarity (Wang et al. 2004), equal to scikit-image's with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, full=True`` and the mean over the *whole* map, borders included."""

    name = "ssim"
    unit = ""
    definition = "Gaussian window of 11 taps, sigma 1.5, population covariance, mean of the full map, data range 1"

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        x, y = unit_range(x_hat), unit_range(x_0)
        # Five filtered maps in one pass.
        mx, my, xx, yy, xy = blur(torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 1)).unflatten(0, (5, -1))
        vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
        ssim = (2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
        return ssim.flatten(1).mean(1)


def blur(x: Tensor) -> Tensor:
    """Separable Gaussian filter of (N, C, H, W); the border is mirrored, edge pixel included (scipy's "reflect")."""
    offsets = torch.arange(TAPS, device=x.device, dtype=x.dtype) - TAPS // 2
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).to(x.dtype)
    flat = x.flatten(0, 1)[:, None]
    flat = F.conv2d(_mirror(flat, 2), window.reshape(1, 1, -1, 1))
    flat = F.conv2d(_mirror(flat, 3), window.reshape(1, 1, 1, -1))
    return flat[:, 0].unflatten(0, x.shape[:2])


def _mirror(x: Tensor, dim: int) -> Tensor:
    r = TAPS // 2
    size = x.shape[dim]
    return torch.cat([x.narrow(dim, 0, r).flip(dim), x, x.narrow(dim, size - r, r).flip(dim)], dim)
