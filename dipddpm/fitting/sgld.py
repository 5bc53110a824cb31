"""sgld: samples of the weights by Langevin dynamics, and the mean of what they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.rng import ImageRng


@dataclass(eq=False)
class Langevin(Trajectory):
    """theta <- theta - step of Adam on || A f_theta(z + xi) - y ||^2 + N(0, (scale lr)^2)

    The average is the plain mean of the outputs of each duration after its burn-in, in the place of the exponential
    one. Noise is on the weights of convolutions and linear layers, as in the authors' code, whose deviation it has too.
    (A true Langevin step of size lr has noise sqrt(lr).)

    Attributes:
        scale: deviation of the noise in units of the learning rate.
        burn_in: share of a duration that the mean leaves out; theirs is 7,000 of 20,000 iterations.
    """

    name = "sgld"
    source = "Cheng et al. 2019, arXiv 1904.07457; github.com/ZezhouCheng/GP-DIP"

    scale: float = 2.0
    burn_in: float = 0.35

    def begin(self, problem: Problem) -> Steps:
        plain = self.with_loss(problem, problem.misfit)
        deviation = self.scale * self.rate(problem)
        weights = [parameter for parameter in problem.network.parameters() if parameter.ndim > 2]

        def step() -> Tensor:
            output = plain.step()
            shake(weights, problem.rng, deviation)
            return output

        average = MeanAfterBurnIn(problem.durations, self.burn_in)
        return Steps(step, plain.image, plain.iteration, average)


def shake(weights: Sequence[nn.Parameter], rng: ImageRng, deviation: float) -> None:
    """Add N(0, deviation^2) to stacked weights (N, ...), each image's from its own generator."""
    counts = [math.prod(weight.shape[1:]) for weight in weights]
    noises = rng.randn(sum(counts)).mul_(deviation).split(counts, 1)
    with torch.no_grad():
        for weight, noise in zip(weights, noises, strict=True):
            # an image alone has an idle twin, whose output nobody sees
            weight[: len(noise)] += noise.view(len(noise), *weight.shape[1:])


class MeanAfterBurnIn:
    """The mean of the outputs of each duration, the first share of them left out."""

    def __init__(self, durations: Sequence[int], share: float):
        self.durations, self.share, self.seen = durations, share, 0
        self.sums: dict[int, Tensor] = {}

    def see(self, output: Tensor) -> None:
        self.seen += 1
        for duration in self.durations:
            if self._first(duration) <= self.seen <= duration:
                before = self.sums.get(duration)
                self.sums[duration] = output.clone() if before is None else before.add_(output)

    def at(self, duration: int) -> Tensor:
        return self.sums[duration] / (duration - self._first(duration) + 1)

    def _first(self, duration: int) -> int:
        """The first output that counts, from 1; the last one counts always."""
        return min(math.floor(self.share * duration) + 1, duration)
