"""random_projector: random convolutions that stay as they are; z and the norms are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.iteration import Iteration
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.fitting.tv import total_variation
from dipddpm.stacking import StackedBatchNorm2d, StackedGroupNorm
from dipddpm.tasks import Observation
from dipddpm.tasks.inpaint import Mask


@dataclass(eq=False)
class RandomProjector(Trajectory):
    """min over z and the affine of the norms of || A f(z) - y || + weight TV(f(z)), the convolutions frozen

    The norm is the root of the mean of squares and TV a mean over values, so that images in [-1, 1] need the weight of
    images in [0, 1]. There is no input noise, unless ``input_noise`` asks for it. The authors fit a network of one
    scale and normalise z; here the architecture is as it is.

    Attributes:
        lr: of z and the norms alike; the authors' 0.1, since no convolution is trained.
        weight: lambda; by default theirs, which depends on the task (:meth:`weight_for`).
    """

    name = "random_projector"
    source = "Li et al. 2023 (CVPR), Deep Random Projector; github.com/sun-umn/Deep-Random-Projector"

    lr: float | None = 0.1
    weight: float | None = None

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        with torch.device("meta"):
            layers = architecture(size=observation.pinv.shape[-1], width=width).modules()
        if any(isinstance(layer, nn.BatchNorm2d | nn.GroupNorm) and layer.affine for layer in layers):
            return ""
        return (
            f"trains the affine of norms, of which DIP architecture {architecture.name!r} has none: build it with "
            "norms, or fit with 'plain'"
        )

    def weight_for(self, observation: Observation) -> float:
        """lambda: 0.45 where y is noisy, 0.01 for holes, 0.5 for all else, which is super-resolution."""
        if self.weight is not None:
            return self.weight
        if observation.sigma:
            return 0.45
        return 0.01 if isinstance(observation.operator, Mask) else 0.5

    def begin(self, problem: Problem) -> Steps:
        network = problem.network.requires_grad_(False)
        norms = [layer for layer in network.modules() if isinstance(layer, StackedBatchNorm2d | StackedGroupNorm)]
        affine = [parameter for norm in norms for parameter in norm.parameters()]
        for parameter in affine:
            parameter.requires_grad_(True)
        projector, weight = TrainedInput(network, problem.z), self.weight_for(problem.observation)

        def loss(image: Tensor) -> Tensor:
            values = image[0].numel()
            # 1e-8 is far below any misfit that is seen, and keeps the gradient finite at none
            return (problem.misfit(image) + 1e-8).sqrt() + weight * total_variation(image) / values

        nothing = torch.zeros_like(problem.z)
        trained, noise = [projector.z, *affine], self.noise_for(problem, 0.0)
        iteration = Iteration(projector, nothing, loss, self.rate(problem), self.precision, trained=trained)
        return Steps(lambda: iteration(noise()), lambda: iteration.image(nothing), iteration)


class TrainedInput(nn.Module):
    """f(z + xi) of noise xi; z is a parameter."""

    def __init__(self, network: nn.Module, z: Tensor):
        super().__init__()
        self.network, self.z = network, nn.Parameter(z.clone())

    def forward(self, noise: Tensor) -> Tensor:
        return self.network(self.z + noise)
