"""Fitting Deep Image Priors: a whole batch of images at once, every duration from one trajectory.

theta* = argmin || A f_theta(z + xi) - y ||^2, xi ~ N(0, sigma_p^2 I)   (Ulyanov et al. 2018, arXiv 1711.10925, eq. 2)
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dipddpm.dip import DeepImagePrior, parameter_count
from dipddpm.errors import InputError
from dipddpm.rng import ImageRng
from dipddpm.stacking import stack
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation

# Iterations whose input noise is drawn at once where the fit runs elsewhere than on the CPU, which draws it. There the
# draws are the price of equal numbers on every device and not of the DIP: they are left out of its seconds, and a clock
# that waits for the device makes it wait once in so many iterations.
AHEAD = 8


@dataclass(frozen=True)
class DipFit:
    """Snapshots along one trajectory; index s is the duration ``iterations[s]``.

    Attributes:
        iterations: durations, ascending; 0 is the untrained network.
        last: (S, N, 3, H, W) in [-1, 1], the network's output for z without input noise.
        ema: (S, N, 3, H, W), running average of the outputs seen while fitting (with input noise).
        loss: (S, N), mean squared error of A f(z) against y.
        seconds: wall-clock for the whole batch from the start to each duration, building the networks included and
            taking snapshots and watching for a stop excluded; on another device than the CPU also drawing input noise.
        parameters: number of weights an image.
        stopped: {rule: (mu, charged)}, the iterate that a stopping rule kept, (N, 3, H, W), and the iterations that it
            took to decide, (N,).
    """

    iterations: tuple[int, ...]
    last: Tensor
    ema: Tensor
    loss: Tensor
    seconds: tuple[float, ...]
    parameters: int
    stopped: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def mu(self, iterations: int, output: str = "last", stopping: str = "fixed") -> Tensor:
        """The prior (N, 3, H, W): ``output`` ("last" or "ema") after a duration, or what a stopping rule kept."""
        if stopping != "fixed":
            return self.stopped[stopping][0]
        return getattr(self, output)[self.iterations.index(iterations)]

    def charged(self, iterations: int, stopping: str = "fixed") -> float:
        """Iterations that had to run, mean over images: the duration, or what a stopping rule needed to decide."""
        return float(iterations) if stopping == "fixed" else float(self.stopped[stopping][1].float().mean())

    def seconds_for(self, iterations: float) -> float:
        """Wall-clock seconds for the batch up to a number of iterations, linear between snapshots."""
        return float(np.interp(iterations, self.iterations, self.seconds))


def fit_dip(
    architecture: type[DeepImagePrior],
    observation: Observation,
    rng: ImageRng,
    *,
    iterations: Sequence[int],
    size: int = 32,
    width: int | None = None,
    lr: float | None = None,
    input_noise: float | None = None,
    ema_decay: float = 0.99,
    rules: Sequence[StoppingRule] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> DipFit:
    """Fit one network of ``architecture`` to each image of ``observation``.

    Each image has its own weights, z and input noise, all drawn from its own generator in ``rng``, and nothing mixes
    images: the loss is a sum over images and Adam works value by value. Whatever the other images of a batch are, image
    i's result is the same bit for bit. In another place of the batch, alone or in a batch of another size it is the
    same to rounding, and a fit makes more of a rounding error than other computations do: in single precision an ulp of
    weights and y moves ``conv_decoder`` by 0.1 within five iterations, ``encoder_decoder`` by 0.01 and ``deep_decoder``
    by 1e-6 (bench/PROTOCOL.md, "Bit for bit, or to rounding").

    The average of the outputs starts without bias (its weights sum to one at every duration); the original begins it
    at the first output, which at 100 iterations would still weigh 37 %.

    Args:
        rng: one generator an image, on the device that the fit runs on.
        iterations: durations to snapshot; the fit runs to the longest.
        lr, input_noise: learning rate and sigma_p; those of the architecture by default.
        rules: stopping rules that watch the trajectory; they change nothing of it.
        clock: seconds; a clock that synchronises the device makes ``seconds`` true on a GPU.

    Raises:
        InputError: no duration, a negative one, a number of generators other than that of images, or networks that
            return no image of ``size`` pixels for each.
    """
    durations = tuple(sorted(set(iterations)))
    if not durations or durations[0] < 0:
        raise InputError(f"DIP iterations must be numbers from 0, at least one of them; got {list(iterations)}")
    if len(rng) != len(observation.y):
        raise InputError(f"{len(rng)} generators for {len(observation.y)} images")

    started, aside = clock(), 0.0
    network, z = build(architecture, rng, size, width)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr or architecture.lr, fused=True)
    average, weight = torch.zeros(len(z), 3, size, size, device=z.device), 0.0
    last, ema, losses, seconds = [], [], [], []
    sigma_p = architecture.input_noise if input_noise is None else input_noise
    ahead, noise = 1 if z.device.type == "cpu" else AHEAD, list[Tensor]()

    def misfit(image: Tensor) -> Tensor:
        if image.shape != average.shape:
            raise InputError(
                f"DIP architecture {architecture.name!r} returned {tuple(image.shape)} where {tuple(average.shape)} "
                f"was expected: its layers must end at {size} px and 3 colours for each of the {len(z)} images"
            )
        return (observation.operator.A(image) - observation.y).square().flatten(1).mean(1)

    for done in range(durations[-1] + 1):
        if done in durations:
            reached = clock()
            seconds.append(reached - started - aside)
            with torch.no_grad():
                image = network(z)
            last.append(image)
            ema.append(average / weight if done else image)
            losses.append(misfit(image))
            aside += clock() - reached
        if done == durations[-1]:
            break
        if sigma_p and not noise:
            drawing = clock()
            noise = [rng.randn(*z.shape[1:]).mul_(sigma_p) for _ in range(min(ahead, durations[-1] - done))]
            if ahead > 1:
                aside += clock() - drawing
        output = network(z + noise.pop(0) if sigma_p else z)
        optimizer.zero_grad(set_to_none=True)
        misfit(output).sum().backward()
        optimizer.step()
        output = output.detach()
        average.lerp_(output, 1 - ema_decay)
        weight = ema_decay * weight + 1 - ema_decay
        if rules:
            watching = clock()
            for rule in rules:
                rule.see(done + 1, output)
            aside += clock() - watching
    stopped = {rule.name: (rule.mu, rule.charged) for rule in rules}
    outputs = torch.stack(last), torch.stack(ema), torch.stack(losses)
    parameters = parameter_count(architecture, size, width)
    return DipFit(durations, *outputs, tuple(seconds), parameters, stopped)


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
    """Runs a lone image beside a copy that nothing is asked of.

    A batch of one takes other convolution kernels, which round otherwise, and Adam makes whole steps of rounding errors
    where a gradient is nearly 0: without the twin, an image alone drifts away from itself in a batch. With the twin it
    takes the kernels of a batch; whether those round alike at every batch size is up to the CPU.
    """

    def __init__(self, stacked: torch.nn.Module):
        super().__init__()
        self.stacked = stacked

    def forward(self, z: Tensor) -> Tensor:
        """(1, ...) -> (1, 3, size, size)."""
        return self.stacked(z.expand(2, *z.shape[1:]))[:1]
