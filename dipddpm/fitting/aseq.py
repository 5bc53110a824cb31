"""aseq: an autoencoder whose input is its own output, renewed every few iterations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.image_input import OnImages, refuses_images
from dipddpm.fitting.iteration import Iteration
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.tasks import Observation


@dataclass(eq=False)
class AutoencodingSequence(Trajectory):
    """theta <- argmin || A f_theta(P z) - y ||^2 + weight || f_theta(P z) - z ||^2, then z <- f_theta(P z)

    z is an image that begins as A^+ y, and stays fixed for ``every`` iterations. P leads it into the network
    (:mod:`dipddpm.fitting.image_input`), so that f and z have the same shape with every architecture. There is no input
    noise, unless ``input_noise`` asks for it. Both norms are means of squares.

    Attributes:
        weight: lambda, of the autoencoding term.
        every: iterations from one z to the next.
    """

    name = "aseq"
    source = "Alkhouri et al. 2024 (aSeqDIP, NeurIPS)"

    weight: float = 0.01
    every: int = 5

    @property
    def passes(self) -> float:
        """The pass forward that renews z included."""
        return 1 + 1 / (3 * self.every)

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        return refuses_images(architecture)

    def begin(self, problem: Problem) -> Steps:
        z = problem.observation.pinv[:, None].clone()

        def loss(outputs: Tensor) -> Tensor:
            image = outputs[:, 0]
            return problem.misfit(image) + self.weight * (outputs - z).square().flatten(1).mean(1)

        noise = self.noise_for(problem, 0.0, z.shape[1:])
        iteration = Iteration(OnImages(problem), z, loss, self.rate(problem), self.precision)

        def step() -> Tensor:
            if iteration.done and iteration.done % self.every == 0:
                z.copy_(iteration.image(z))
                iteration.shown.copy_(z)
            return iteration(noise())[:, 0]

        return Steps(step, lambda: iteration.image(z)[:, 0], iteration)
