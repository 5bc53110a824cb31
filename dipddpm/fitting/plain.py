"""plain: the loop of the original Deep Image Prior, for a whole batch of images at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.dip import DeepImagePrior, parameter_count
from dipddpm.errors import InputError
from dipddpm.fitting import DipFit, FittingMethod
from dipddpm.rng import ImageRng
from dipddpm.stacking import stack
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation

# How many iterations' input noise is drawn at once where the fit does not run on the CPU, which draws it. There the
# draws are the price of equal numbers on every device and not of the DIP, so they are left out of its seconds. A clock
# that waits for the device then makes it wait once in so many iterations.
AHEAD = 8


@dataclass(eq=False)
class Plain(FittingMethod):
    """Adam on the misfit, input noise at every iteration, and an average of the outputs.

    The average starts without bias (its weights sum to one at every duration). The original begins it at the first
    output, which at 100 iterations would still weigh 37 %.

    Attributes:
        lr, input_noise: learning rate and sigma_p; those of the architecture by default.
        ema_decay: of the average of the outputs.
    """

    name = "plain"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, eq. 2 and supplementary material"

    lr: float | None = None
    input_noise: float | None = None
    ema_decay: float = 0.99

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
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr or architecture.lr, fused=True)
        sigma_p = architecture.input_noise if self.input_noise is None else self.input_noise
        noise = InputNoise(rng, z, sigma_p, iterations[-1], clock)
        average, weight = torch.zeros(len(z), 3, size, size, device=z.device), 0.0
        last, ema, losses, seconds = [], [], [], []

        for done in range(iterations[-1] + 1):
            # Snapshot, not charged.
            if done in iterations:
                reached = clock()
                seconds.append(reached - started - aside - noise.aside)
                with torch.no_grad():
                    image = network(z)
                last.append(image)
                ema.append(average / weight if done else image)
                losses.append(misfit(image, observation, architecture, size))
                aside += clock() - reached
            if done == iterations[-1]:
                break

            # One update of the weights: Adam on || A f(z + xi) - y ||^2.
            output = network(z + noise.draw() if sigma_p else z)
            optimizer.zero_grad(set_to_none=True)
            misfit(output, observation, architecture, size).sum().backward()
            optimizer.step()

            # The average of the outputs.
            output = output.detach()
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


class InputNoise:
    """xi ~ N(0, sigma_p^2 I) for every iteration of a fit, drawn ahead where the fit does not run on the CPU.

    Attributes:
        aside: seconds of drawing that are not charged to the fit.
    """

    def __init__(self, rng: ImageRng, z: Tensor, sigma_p: float, iterations: int, clock: Callable[[], float]):
        self.rng, self.z, self.sigma_p, self.left, self.clock = rng, z, sigma_p, iterations, clock
        self.at_once = 1 if z.device.type == "cpu" else AHEAD
        self.aside = 0.0
        self._drawn: list[Tensor] = []

    def draw(self) -> Tensor:
        """The noise of the next iteration, of the shape of z."""
        if not self._drawn:
            started = self.clock() if self.at_once > 1 else 0.0
            count = min(self.at_once, self.left)
            self._drawn = [self.rng.randn(*self.z.shape[1:]).mul_(self.sigma_p) for _ in range(count)]
            if self.at_once > 1:
                self.aside += self.clock() - started
        self.left -= 1
        return self._drawn.pop(0)


def build(
    architecture: type[DeepImagePrior], rng: ImageRng, size: int, width: int | None = None
) -> tuple[torch.nn.Module, Tensor]:
    """The stacked networks of a batch, each initialised from the seed of its image, and their inputs z."""
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in rng.seeds:
            torch.manual_seed(seed)
            networks.append(architecture(size=size, width=width))
    z = networks[0].draw_z(rng)
    if len(networks) > 1:
        return stack(networks).to(rng.device), z
    return WithIdleTwin(stack([*networks, copy.deepcopy(networks[0])])).to(rng.device), z


class WithIdleTwin(torch.nn.Module):
    """Runs a single image beside a copy whose output is not used.

    A batch of one takes other convolution kernels, which round differently, and Adam makes whole steps of rounding
    errors where a gradient is nearly 0: without the twin, an image alone drifts away from itself in a batch.
    """

    def __init__(self, stacked: torch.nn.Module):
        super().__init__()
        self.stacked = stacked

    def forward(self, z: Tensor) -> Tensor:
        """(1, ...) -> (1, 3, size, size)."""
        return self.stacked(z.expand(2, *z.shape[1:]))[:1]
