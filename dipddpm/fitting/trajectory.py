"""What all ways of fitting share: one trajectory, with snapshots, an average, a clock and rules that look on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, parameter_count
from dipddpm.errors import InputError
from dipddpm.fitting import DipFit, FittingMethod
from dipddpm.fitting.iteration import Iteration
from dipddpm.networks import build
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Problem:
    """What a fit begins with: the networks of a batch, their inputs z, and the observation that they are fitted to.

    Attributes:
        durations: that will be snapshot, ascending.
    """

    architecture: type[DeepImagePrior]
    observation: Observation
    rng: ImageRng
    size: int
    durations: tuple[int, ...]
    network: nn.Module
    z: Tensor

    def misfit(self, image: Tensor) -> Tensor:
        """Mean squared error of A f(z) against y, (N,)."""
        return misfit(image, self.observation, self.architecture, self.size)


class Average(Protocol):
    """The average of the outputs that a fit keeps beside the last one."""

    def see(self, output: Tensor) -> None:
        """Take in the output of one more iteration."""

    def at(self, duration: int) -> Tensor:
        """The average after as many iterations as were seen, which are ``duration``, at least 1."""


class RunningAverage:
    """An exponential average whose weights sum to one at every duration."""

    def __init__(self, decay: float):
        self.decay, self.weight = decay, 0.0
        self.average: Tensor | None = None

    def see(self, output: Tensor) -> None:
        if self.average is None:
            self.average = torch.zeros_like(output)
        self.average.lerp_(output, 1 - self.decay)
        self.weight = self.decay * self.weight + 1 - self.decay

    def at(self, duration: int) -> Tensor:
        assert self.average is not None
        return self.average / self.weight


@dataclass(frozen=True)
class Steps:
    """What a way does with a problem.

    Attributes:
        step: one update of what is trained; the output that it was made for, (N, 3, H, W), without its gradient.
        image: f(z) as it stands, (N, 3, H, W), which draws nothing and changes nothing.
        iteration: of which the kernels are compiled before the first step.
        average: of the outputs; the exponential one where none is given.
    """

    step: Callable[[], Tensor]
    image: Callable[[], Tensor]
    iteration: Iteration
    average: Average | None = field(default=None)


@dataclass(eq=False)
class Trajectory(FittingMethod):
    """A way that is a sequence of steps; a subclass says in :meth:`begin` what a step is.

    The loss of a subclass is a sum over images and Adam works value by value, so that nothing mixes images.

    Attributes:
        lr, input_noise: learning rate and sigma_p; those of the architecture by default.
        ema_decay: of the average of the outputs.
        precision: of products; see :class:`dipddpm.fitting.iteration.Iteration`.
    """

    lr: float | None = None
    input_noise: float | None = None
    ema_decay: float = 0.99
    precision: str = ""

    @abstractmethod
    def begin(self, problem: Problem) -> Steps:
        """The steps of a fit of this problem.

        Raises:
            InputError: this way cannot fit such a network, or to such an observation.
        """

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
        """As :meth:`FittingMethod.fit`."""
        # Networks, optimiser, and what is collected on the way. ``aside`` are seconds that no duration is charged for.
        started, aside = clock(), 0.0
        network, z = build(architecture, rng, size, width)
        problem = Problem(architecture, observation, rng, size, iterations, network, z)
        steps = self.begin(problem)
        if z.is_cuda:
            reached = clock()
            steps.iteration.compile_kernels()
            aside += clock() - reached
        average = steps.average or RunningAverage(self.ema_decay)
        last, averages, losses, seconds = [], [], [], []
        watched = {rule.name: 0.0 for rule in rules}
        watching: dict[str, list[float]] = {rule.name: [] for rule in rules}

        for done in range(iterations[-1] + 1):
            # Snapshot, not charged.
            if done in iterations:
                reached = clock()
                seconds.append(reached - started - aside)
                for name, so_far in watched.items():
                    watching[name].append(so_far)
                image = steps.image()
                last.append(image)
                averages.append(average.at(done) if done else image)
                losses.append(problem.misfit(image))
                aside += clock() - reached
            if done == iterations[-1]:
                break

            output = steps.step()
            average.see(output)

            # Stopping rules look on, which is charged to those alone who stop by them.
            for rule in rules:
                reached = clock()
                rule.see(done + 1, output)
                looked = clock() - reached
                watched[rule.name] += looked
                aside += looked

        stopped = {rule.name: (rule.mu.clone(), rule.charged) for rule in rules}  # two may keep the same output
        outputs = torch.stack(last), torch.stack(averages), torch.stack(losses)
        parameters = parameter_count(architecture, size, width)
        taken = {name: tuple(so_far) for name, so_far in watching.items()}
        return DipFit(iterations, *outputs, tuple(seconds), parameters, stopped, taken)

    def rate(self, problem: Problem) -> float:
        """The learning rate."""
        return self.lr or problem.architecture.lr

    def noise_for(
        self, problem: Problem, default: float | None = None, shape: Sequence[int] = ()
    ) -> Callable[[], Tensor | None]:
        """Draws the noise of one iteration, sigma_p xi; nothing is drawn where sigma_p is 0.

        Args:
            default: sigma_p unless the method was given one; that of the architecture where this is None too.
            shape: of xi, for each image; that of z by default.
        """
        default = problem.architecture.input_noise if default is None else default
        sigma_p = default if self.input_noise is None else self.input_noise
        shape = shape or problem.z.shape[1:]
        return lambda: problem.rng.randn(*shape).mul_(sigma_p) if sigma_p else None

    def with_loss(
        self, problem: Problem, loss: Callable[[Tensor], Tensor], adjust: Callable[[], None] | None = None
    ) -> Steps:
        """The steps of the original loop on another loss, (N, 3, H, W) to (N,), with its gradients adjusted."""
        network, z, rate = problem.network, problem.z, self.rate(problem)
        iteration, noise = Iteration(network, z, loss, rate, self.precision, adjust=adjust), self.noise_for(problem)
        return Steps(lambda: iteration(noise()), lambda: iteration.image(problem.z), iteration)


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
