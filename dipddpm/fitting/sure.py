"""sure: the unbiased estimate of the risk in the place of the misfit, where y is an image plus known noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.image_input import OnImages, refuses_images
from dipddpm.fitting.iteration import Iteration
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity


@dataclass(eq=False)
class Sure(Trajectory):
    """min over theta of || h(x) - y ||^2 / n + 2 sigma^2 div h(x) / n, h(x) = f_theta(P x), x = y + xi

    n is the number of values of an image. The divergence is b^T (h(x + e b) - h(x)) / e for one b ~ N(0, I) an
    iteration. P leads y into the network (:mod:`dipddpm.fitting.image_input`): h is a function of y as the estimate
    asks for. The average of the outputs is the authors' temporal ensemble. They stop where the estimate crosses zero,
    which is left to the stopping rules. Products are always of float32, since the divergence is a small difference.

    Attributes:
        share: standard deviation of xi in units of sigma, unless ``input_noise`` gives one.
        probe: e in units of sigma.
    """

    name = "sure"
    source = "Jo et al. 2021, arXiv 2108.12841; divergence: Ramani et al. 2008"

    precision: str = "fp32"
    share: float = 0.5
    probe: float = 0.01

    @property
    def passes(self) -> float:
        return 2.0

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        if not observation.sigma or not isinstance(observation.operator, Identity):
            return (
                f"needs y = x_0 + noise of a known sigma; here A is {type(observation.operator).__name__} and sigma "
                f"{observation.sigma:g}: choose a denoising task, or fit with 'plain'"
            )
        if self.precision != "fp32":
            return (
                f"takes small differences of outputs, which {self.precision or 'default'} products would drown: use "
                "precision fp32"
            )
        return refuses_images(architecture)

    def begin(self, problem: Problem) -> Steps:
        y, sigma = problem.observation.y, problem.observation.sigma
        e, direction = self.probe * sigma, torch.zeros_like(y)

        def loss(outputs: Tensor) -> Tensor:
            here, there = outputs.unbind(1)
            return problem.misfit(here) + 2 * sigma**2 * divergence(here, there, direction, e)

        sigma_xi = self.share * sigma if self.input_noise is None else self.input_noise
        both = y[:, None].repeat(1, 2, 1, 1, 1)
        iteration = Iteration(OnImages(problem), both, loss, self.rate(problem), self.precision)

        def step() -> Tensor:
            xi, b = problem.rng.randn(2, *y.shape[1:]).unbind(1)
            direction.copy_(b)
            xi = sigma_xi * xi
            return iteration(torch.stack([xi, xi + e * b], 1))[:, 0]

        return Steps(step, lambda: iteration.image(both[:, :1])[:, 0], iteration)


def divergence(here: Tensor, there: Tensor, direction: Tensor, e: float) -> Tensor:
    """An estimate of the mean of dh_i / dx_i from h(x) and h(x + e b), (N,)."""
    return (direction * (there - here)).flatten(1).mean(1) / e
