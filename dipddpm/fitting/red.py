"""red: regularisation by denoising, with non-local means as the denoiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.priors.image_by_image import image_by_image


@dataclass(eq=False)
class Red(Trajectory):
    """min over theta of || A f_theta(z + xi) - y ||^2 + penalty || x - f_theta(z + xi) - u ||^2, and in turns
    x <- (beta D(x) + penalty (f + u)) / (beta + penalty),  u <- u + f - x

    D is non-local means on the CPU, in the fast form of Darbon et al. 2008, new every ``every`` iterations; x and u are
    new at each, with f as it was seen. x begins as A^+ y and u as 0. Both norms are means of squares, as in the loss of
    the other ways. The seconds of D are part of those of the fit; it is no pass through a network.

    Attributes:
        beta, penalty: weight of the denoiser, and mu of the splitting.
        every: iterations from one D(x) to the next.
        strength: standard deviation of the noise that D takes out, in images of [0, 1].
    """

    name = "red"
    source = "Mataev et al. 2019 (DeepRED), arXiv 1903.10176"

    beta: float = 0.5
    penalty: float = 0.5
    every: int = 10
    strength: float = 0.02

    def begin(self, problem: Problem) -> Steps:
        x = problem.observation.pinv.clone()
        u, denoised = x.new_zeros(x.shape), x

        def loss(image: Tensor) -> Tensor:
            return problem.misfit(image) + self.penalty * (x - image - u).square().flatten(1).mean(1)

        plain = self.with_loss(problem, loss)

        def step() -> Tensor:
            nonlocal denoised
            if plain.iteration.done % self.every == 0:
                denoised = self.denoised(x)
            image = plain.step()
            x.copy_((self.beta * denoised + self.penalty * (image + u)) / (self.beta + self.penalty))
            u.add_(image - x)
            return image

        return Steps(step, plain.image, plain.iteration)

    def denoised(self, x: Tensor) -> Tensor:
        """D(x), (N, 3, H, W); ``x`` has no gradient, and is changed afterwards."""
        return image_by_image(self._denoise, x)

    def _denoise(self, image: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        return denoise_nl_means(image, 5, 6, 0.6 * self.strength, True, sigma=self.strength, channel_axis=-1)
