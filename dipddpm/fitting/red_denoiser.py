"""red_denoiser: regularisation by denoising, with the denoiser of the diffusion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.red import Red
from dipddpm.priors.one_step import one_step
from dipddpm.tasks import Observation


@dataclass(eq=False)
class RedDenoiser(Red):
    """min over theta of || A f_theta(z + xi) - y ||^2 + penalty || x - f_theta(z + xi) - u ||^2, and in turns
    x <- (beta D(x) + penalty (f + u)) / (beta + penalty),  u <- u + f - x

    As ``red``, with D(x) = E[x_0 | x_0 + s n = x] of the diffusion network: one evaluation at the step whose noise,
    relative to its signal, is nearest to s. In images of [0, 1] s is ``strength``, as in ``red``. The denoiser learned
    from training images, so that this is no prior-free method; its training is charged to nobody here, since every arm
    of a comparison has been given it.

    The default of ``strength`` was chosen on 4 validation images each of CIFAR-10 and of photographs (skip of width 32,
    150 iterations). Against plain that is 1.2 and 0.6 dB on `denoise_25` (0.1: 1.0 and 0.4), 0.4 and -0.1 dB on
    `super_resolution`, and -0.3 dB on `inpaint` (0.1: -0.8 and -0.6; 0.025: -0.1 and -0.4).

    Attributes:
        denoiser: of the experiment, by :meth:`with_denoiser`.
    """

    name = "red_denoiser"
    source = "Mataev et al. 2019 (DeepRED), arXiv 1903.10176; D: Ho et al. 2020, arXiv 2006.11239, eq. 15"
    learned: ClassVar[bool] = True

    strength: float = 0.05
    denoiser: Denoiser | None = None

    @property
    def evaluations_per_iteration(self) -> float:
        return 1 / self.every

    def with_denoiser(self, denoiser: Denoiser) -> RedDenoiser:
        return replace(self, denoiser=denoiser)

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        if self.denoiser is None:
            return "regularises with a denoiser, and was given none: use with_denoiser(...), or fit with 'red'"
        if self.denoiser.injection.sees_mu:
            return (
                f"needs a denoiser that is shown the noisy image alone; this one was trained to see a prior by "
                f"{self.denoiser.injection.name!r}: use another denoiser, or fit with 'red'"
            )
        size = observation.pinv.shape[-1]
        if self.denoiser.size != size:
            return (
                f"has a denoiser for images of {self.denoiser.size} px, and these have {size}: use one of "
                "that size, or fit with 'red'"
            )
        return ""

    def denoised(self, x: Tensor) -> Tensor:
        assert self.denoiser is not None
        return one_step(self.denoiser, x, 2 * self.strength)
