"""wavelet: small wavelet coefficients taken for noise, averaged over shifts of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.image_by_image import image_by_image
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity


class Wavelet(Prior):
    """Soft thresholds on brightness and colour differences, with cycle spinning (Coifman & Donoho 1995).

    Args:
        wavelet: as PyWavelets calls it.
        method: ``BayesShrink`` (Chang et al. 2000, a threshold per band) or ``VisuShrink`` (Donoho & Johnstone 1994).
        sigma: the noise that thresholds are made for, in units of the true one; VisuShrink's own is known to smooth too
            much.
        shifts: the largest shift in each direction, in pixels.
    """

    name = "wavelet"
    role = "control"

    def __init__(self, wavelet: str = "db1", method: str = "BayesShrink", sigma: float = 1.0, shifts: int = 3):
        self.wavelet, self.method, self.sigma, self.shifts = wavelet, method, sigma, shifts

    def variants(self) -> Sequence[Wavelet]:
        # Images of 32 pixels are split into two levels, which more shifts than 3 do not change.
        return [
            Wavelet("db1", "BayesShrink", 1.0, 1),
            Wavelet("db1", "BayesShrink", 1.0, 3),
            Wavelet("db1", "BayesShrink", 1.2, 3),
            Wavelet("db2", "BayesShrink", 1.0, 3),
            Wavelet("db1", "VisuShrink", 0.25, 3),
            Wavelet("db1", "VisuShrink", 0.5, 3),
        ]

    def applies(self, observation: Observation) -> bool:
        return observation.sigma > 0 and isinstance(observation.operator, Identity)

    def mu(self, evidence: Evidence) -> Tensor:
        sigma = self.sigma * evidence.observation.sigma / 2  # of images in [0, 1]

        def denoised(image: np.ndarray) -> np.ndarray:
            from inspect import signature

            from skimage.restoration import cycle_spin, denoise_wavelet

            # Left to itself it asks for every core. scikit-image 0.26 renamed the argument.
            workers = "workers" if "workers" in signature(cycle_spin).parameters else "num_workers"
            how = {
                "wavelet": self.wavelet, "method": self.method, "sigma": sigma, "convert2ycbcr": True,
                "rescale_sigma": True, "channel_axis": -1,
            }  # fmt: skip
            return cycle_spin(image, denoise_wavelet, self.shifts, func_kw=how, channel_axis=-1, **{workers: 1})

        return image_by_image(denoised, evidence.observation.y).clamp(-1, 1)
