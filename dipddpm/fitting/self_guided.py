"""self_guided: the input is an image that is trained with the weights, seen under several noises at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.image_input import OnImages, refuses_images
from dipddpm.fitting.iteration import Iteration
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.tasks import Observation


@dataclass(eq=False)
class SelfGuided(Trajectory):
    """min over theta and z of || A g - y ||^2 + alpha || g - z ||^2, g = mean over k of f_theta(P (z + xi_k))

    z is an image that begins as A^+ y. P leads it into the network (:mod:`dipddpm.fitting.image_input`), so that f and
    z have the same shape with every architecture. Both norms are means of squares.

    Attributes:
        alpha: how strongly z and the output are held together.
        noises: K, the number of xi at every iteration.
        noise: standard deviation of xi, as a share of the largest |A^+ y| of the image. It stands in for sigma_p, which
            is meant for z ~ U(0, 0.1), unless ``input_noise`` gives one.
        lr_z: learning rate of z.
    """

    name = "self_guided"
    source = "Liang et al. 2024, arXiv 2402.04097"

    alpha: float = 0.01
    noises: int = 4
    noise: float = 0.5
    lr_z: float = 0.1

    @property
    def passes(self) -> float:
        return float(self.noises)

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        return refuses_images(architecture)

    def begin(self, problem: Problem) -> Steps:
        guided = Guided(problem)

        def loss(outputs: Tensor) -> Tensor:
            image = outputs.mean(1)
            held = (image - guided.z).square().flatten(1).mean(1)
            return problem.misfit(image) + self.alpha * held

        n, shape = len(guided.z), (self.noises, *guided.z.shape[1:])
        largest = problem.observation.pinv.abs().amax((1, 2, 3)).view(n, 1, 1, 1, 1)
        sigma = self.noise * largest if self.input_noise is None else torch.full_like(largest, self.input_noise)
        trained: list[dict[str, Any]] = [
            {"params": list(problem.network.parameters())},
            {"params": [guided.z], "lr": self.lr_z},
        ]
        nothing = torch.zeros(n, *shape, device=problem.z.device)
        iteration = Iteration(guided, nothing, loss, self.rate(problem), self.precision, trained=trained)
        return Steps(
            step=lambda: iteration(problem.rng.randn(*shape).mul_(sigma)).mean(1),
            image=lambda: iteration.image(nothing[:, :1])[:, 0],
            iteration=iteration,
        )


class Guided(nn.Module):
    """f(P (z + xi_k)) of noises (N, K, 3, H, W); z is a parameter."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.network = OnImages(problem)
        self.z = nn.Parameter(problem.observation.pinv.clone())

    def forward(self, noises: Tensor) -> Tensor:
        return self.network(self.z[:, None] + noises)
