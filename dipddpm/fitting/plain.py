"""plain: the loop of the original Deep Image Prior, for a whole batch of images at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.dip import DeepImagePrior, parameter_count
from dipddpm.errors import InputError
from dipddpm.fitting import DipFit, FittingMethod
from dipddpm.fitting.iteration import Iteration
from dipddpm.networks import build
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation


@dataclass(eq=False)
class Plain(FittingMethod):
    """Adam on the misfit, input noise at every iteration, and an average of the outputs.

    The average starts without bias (its weights sum to one at every duration). The original begins it at the first
    output, which at 100 iterations would still weigh 37 %.

    Attributes:
        lr, input_noise: learning rate and sigma_p; those of the architecture by default.
        ema_decay: of the average of the outputs.
        precision: of products; see :class:`dipddpm.fitting.iteration.Iteration`.
    """

    name = "plain"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, eq. 2 and supplementary material"

    lr: float | None = None
    input_noise: float | None = None
    ema_decay: float = 0.99
    precision: str = ""

    def fit(
        self,
        architecture: type[DeepImagePrior],
        observation: Observation,
        rng: ImageRng,
        *,
        iterations: tuple[int, ...],
        size: int,
        width: int | None,
        rules: Sequence[StoppingRule],
        clock: Callable[[], float],
    ) -> DipFit:
        """As :meth:`FittingMethod.fit`. The loss is a sum over images and Adam works value by value, so that nothing
        mixes images."""
        # Networks, optimiser, and what is collected on the way. ``aside`` are seconds that no duration is charged for.
        started, aside = clock(), 0.0
        network, z = build(architecture, rng, size, width)
        sigma_p = architecture.input_noise if self.input_noise is None else self.input_noise

        def loss(image: Tensor) -> Tensor:
            return misfit(image, observation, architecture, size)

        iteration = Iteration(network, z, loss, self.lr or architecture.lr, self.precision)
        if z.is_cuda:
            reached = clock()
            iteration.compile_kernels()
            aside += clock() - reached
        average, weight = torch.zeros(len(z), 3, size, size, device=z.device), 0.0
        last, ema, losses, seconds = [], [], [], []

        for done in range(iterations[-1] + 1):
            # Snapshot, not charged.
            if done in iterations:
                reached = clock()
                seconds.append(reached - started - aside)
                image = iteration.image(z)
                last.append(image)
                ema.append(average / weight if done else image)
                losses.append(loss(image))
                aside += clock() - reached
            if done == iterations[-1]:
                break

            # One update of the weights: Adam on || A f(z + xi) - y ||^2.
            output = iteration(rng.randn(*z.shape[1:]).mul_(sigma_p) if sigma_p else None)

            # The average of the outputs.
            average.lerp_(output, 1 - self.ema_decay)
            weight = self.ema_decay * weight + 1 - self.ema_decay

            # Stopping rules look on, not charged.
            if rules:
                watching = clock()
                for rule in rules:
                    rule.see(done + 1, output)
                aside += clock() - watching

        stopped = {rule.name: (rule.mu, rule.charged) for rule in rules}
        outputs = torch.stack(last), torch.stack(ema), torch.stack(losses)
        parameters = parameter_count(architecture, size, width)
        return DipFit(iterations, *outputs, tuple(seconds), parameters, stopped)


def misfit(image: Tensor, observation: Observation, architecture: type[DeepImagePrior], size: int) -> Tensor:
    """Mean squared error of A f(z) against y, (N,).

    Raises:
        InputError: the networks did not return an image of ``size`` pixels for each observation.
    """
    expected = (len(observation.y), 3, size, size)
    if image.shape != expected:
        raise InputError(
            f"DIP architecture {architecture.name!r} returned {tuple(image.shape)} where {expected} "
            f"was expected: its layers must end at {size} px and 3 colours for each of the {expected[0]} images"
        )
    return (observation.operator.A(image) - observation.y).square().flatten(1).mean(1)
