"""tv: the misfit and the total variation of the output."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipddpm.fitting.trajectory import Problem, Steps, Trajectory


@dataclass(eq=False)
class TotalVariation(Trajectory):
    """min over theta of || A f_theta(z + xi) - y ||^2 + gamma TV(f_theta(z + xi))

    The norm is a mean of squares and TV a sum of |differences| between neighbours, both of images in [0, 1], as in the
    code of dival. On images in [-1, 1] the misfit is 4 times that, and TV 2 times. The sum grows with the number of
    pixels, so that a gamma belongs to a size.

    The gamma of dival, 1e-4, smooths images of 32 px by 4 to 6 dB too much; a tenth of it is better than plain where y
    is noisy. Validation images choose between the two.

    Attributes:
        gamma: weight of TV.
        clip: the largest norm of the gradient of an image's network; 0 leaves it as it is.
    """

    name = "tv"
    source = "Liu et al. 2019, arXiv 1810.12864; Baguer et al. 2020, arXiv 2003.04989; github.com/jleuschn/dival"

    gamma: float = 1e-4
    clip: float = 1.0

    def variants(self) -> tuple[TotalVariation, ...]:
        return self, replace(self, gamma=self.gamma / 10)

    def described(self) -> str:
        return f"gamma {self.gamma:g}"

    def begin(self, problem: Problem) -> Steps:
        def loss(image: Tensor) -> Tensor:
            return problem.misfit(image) / 4 + self.gamma * total_variation(image) / 2

        def clipped() -> None:
            gradients = [p.grad for p in problem.network.parameters() if p.grad is not None]
            norm = torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0).sqrt()
            factor = self.clip / norm.clamp(min=self.clip)
            for g in gradients:
                g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))

        return self.with_loss(problem, loss, clipped if self.clip else None)


def total_variation(image: Tensor) -> Tensor:
    """Sum of |differences| between neighbours in both directions and all colours, (N,)."""
    across, down = (image.diff(dim=along).abs().flatten(1).sum(1) for along in (-1, -2))
    return across + down
