"""Fitting Deep Image Priors to observations: ``fit_dip``, and one file per fitting method.

theta* = argmin || A f_theta(z + xi) - y ||^2, xi ~ N(0, sigma_p^2 I)   (Ulyanov et al. 2018, arXiv 1711.10925, eq. 2)

A whole batch of images is fitted at once, and one trajectory serves every duration by snapshots on the way. A fitting
method is a file here with a subclass of :class:`FittingMethod`; ``plain`` is the loop of the original. The others are
published ways to a better image or a cheaper one; most are a few lines on top of ``trajectory``, which has the loop.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.dip import DeepImagePrior
from dipddpm.errors import InputError
from dipddpm.memo import Execute, Memo, direct
from dipddpm.registry import Comparable, choose, discover
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation

if TYPE_CHECKING:  # a method may use a denoiser; the others do not depend on any
    from dipddpm.denoisers import Denoiser


@dataclass(frozen=True)
class DipFit:
    """Snapshots along one trajectory; index s is the duration ``iterations[s]``.

    Attributes:
        iterations: durations, ascending; 0 is the untrained network.
        last: (S, N, 3, H, W) in [-1, 1], the network's output for z without input noise.
        ema: (S, N, 3, H, W), running average of the outputs seen while fitting (with input noise).
        loss: (S, N), mean squared error of A f(z) against y.
        seconds: wall-clock for the whole batch from the start to each duration. Building the networks and drawing the
            input noise are included; taking snapshots and watching for a stop are not, nor is compiling kernels for a
            GPU.
        parameters: number of weights per image.
        stopped: {rule: (mu, charged)}, the iterate that a stopping rule kept, (N, 3, H, W), and the iterations that it
            took to decide, (N,).
        watching: {rule: seconds}, wall-clock that a stopping rule took for the whole batch up to each duration.
    """

    iterations: tuple[int, ...]
    last: Tensor
    ema: Tensor
    loss: Tensor
    seconds: tuple[float, ...]
    parameters: int
    stopped: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    watching: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

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

    def watching_seconds_for(self, iterations: float, stopping: str = "fixed") -> float:
        """Wall-clock seconds for the batch that a stopping rule watched for, up to a number of iterations; linear
        between snapshots, and 0 for a fixed duration, which needs no watching."""
        if stopping == "fixed":
            return 0.0
        return float(np.interp(iterations, self.iterations, self.watching[stopping]))

    def packed(self) -> dict[str, Any]:
        """The fit as a store keeps it."""
        return {**vars(self), "stopped": dict(self.stopped), "watching": dict(self.watching)}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> DipFit:
        """What :meth:`packed` gave."""
        stopped = {name: (mu, charged) for name, (mu, charged) in packed["stopped"].items()}
        watching = {name: tuple(seconds) for name, seconds in packed["watching"].items()}
        lists = {name: tuple(packed[name]) for name in ("iterations", "seconds")}
        return cls(**{**packed, **lists, "stopped": stopped, "watching": watching})


class FittingMethod(Comparable, ABC):
    """How the weights of a DIP are fitted to an observation."""

    name: ClassVar[str]
    source: ClassVar[str]
    learned: ClassVar[bool] = False
    """Whether it begins with what was learned from training images, so that it is no prior-free method."""

    @property
    def passes(self) -> float:
        """What an iteration costs, in passes forward and backward through the network; a pass forward alone is 1/3."""
        return 1.0

    @property
    def evaluations_per_iteration(self) -> float:
        """Evaluations of the denoiser per image and iteration, beside the passes; 0 where it makes use of none."""
        return 0.0

    @property
    def training_seconds(self) -> float:
        """Seconds that were spent once, before any image could be fitted; 0 where nothing was learned."""
        return 0.0

    def variants(self) -> Sequence[FittingMethod]:
        """The same method with each of the parameters that validation images choose among, the default first."""
        return (self,)

    def described(self) -> str:
        """The parameters that :meth:`variants` differ in, in a few words for tables (``gamma 1e-05``); "" for none."""
        return ""

    def with_denoiser(self, denoiser: Denoiser) -> FittingMethod:
        """This method with the denoiser of the experiment, where it makes use of one."""
        return self

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        """Why it cannot fit such networks to such an observation, as the end of a sentence that begins with its name;
        "" where it can."""
        return ""

    @abstractmethod
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
        """Fit one network to each image of ``observation``, all in one batch.

        Nothing may mix images: image i gives the same result alone as in any batch, to rounding.

        Args:
            rng: one generator per image, on the device that the fit runs on.
            iterations: durations to snapshot, ascending; the fit runs to the last.
            rules: stopping rules that are shown every output; they change nothing of the trajectory.
        """


def fitting_methods() -> Mapping[str, type[FittingMethod]]:
    """Every fitting method, by name."""
    return discover(sys.modules[__name__], FittingMethod)


def fitting_method(name: str) -> FittingMethod:
    """The fitting method of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return fitting_methods()[choose("fitting method", name, fitting_methods())]()


def fit_dip(
    architecture: type[DeepImagePrior],
    observation: Observation,
    rng: ImageRng,
    *,
    iterations: Sequence[int],
    size: int = 32,
    width: int | None = None,
    method: FittingMethod | None = None,
    rules: Sequence[type[StoppingRule]] = (),
    x_0: Tensor | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> DipFit:
    """Fit one network of ``architecture`` to each image of ``observation``; half the images at once where all of them
    run out of memory.

    Each image has its own weights, z and input noise, all drawn from its own generator in ``rng``. Whatever the other
    images of a batch are, image i's result is the same bit for bit. In another place of the batch, alone, or in a batch
    of another size it is the same to rounding, and a fit makes more of a rounding error than other computations do: in
    single precision an ulp of weights and y moves ``conv_decoder`` by 0.1 within five iterations, ``skip`` by 0.01 and
    ``deep_decoder`` by 1e-6 (docs/protocol.md, "Bit for bit, or to rounding").

    Args:
        rng: one generator per image, on the device that the fit runs on.
        iterations: durations to snapshot; the fit runs to the longest.
        width: of the network; its published one by default.
        method: the fitting method, ``plain`` by default.
        rules: stopping rules that watch the trajectory; the fit says what each of them took.
        x_0: (N, 3, H, W), the photographs; shown to a rule that declares that it leaks, and to nothing else.
        clock: seconds. One that synchronises the device makes ``seconds`` true on a GPU. The seconds of slices add up.

    Raises:
        InputError: no duration or a negative one; another number of generators than of images; a method that refuses
            the networks or the observation; networks that do not return an image of ``size`` pixels; a single image
            does not fit into memory.
    """
    durations = tuple(sorted(set(iterations)))
    if not durations or durations[0] < 0:
        raise InputError(f"DIP iterations must be numbers from 0, at least one of them; got {list(iterations)}")
    if len(rng) != len(observation.y):
        raise InputError(f"{len(rng)} generators for {len(observation.y)} images")
    method = method or fitting_method("plain")
    if why := method.refuses(architecture, observation, width):
        raise InputError(f"fitting method {method.name!r} {why}")

    def fit(images: slice) -> DipFit:
        watching = [
            rule(durations[-1], x_0[images] if x_0 is not None and rule.leak != "none" else None) for rule in rules
        ]
        with rng.attempt(images) as own:
            return method.fit(
                architecture, observation.part(images), own,
                iterations=durations, size=size, width=width, rules=watching, clock=clock,
            )  # fmt: skip

    stage = f"DIP fit ({architecture.name}{f', width {width}' if width else ''}, {size} px, {rng.device.type})"
    return _together(in_batches(stage, len(rng), fit))


def _together(fits: Sequence[DipFit]) -> DipFit:
    """The fits of the slices of a batch as one; their seconds add up, since one ran after the other."""
    first = fits[0]
    if len(fits) == 1:
        return first
    return DipFit(
        iterations=first.iterations,
        last=joined([fit.last for fit in fits], 1),
        ema=joined([fit.ema for fit in fits], 1),
        loss=joined([fit.loss for fit in fits], 1),
        seconds=_added(fit.seconds for fit in fits),
        parameters=first.parameters,
        stopped={
            name: (joined([fit.stopped[name][0] for fit in fits]), joined([fit.stopped[name][1] for fit in fits]))
            for name in first.stopped
        },
        watching={name: _added(fit.watching[name] for fit in fits) for name in first.watching},
    )


def _added(seconds: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """The sum over slices, of each duration."""
    return tuple(sum(slices) for slices in zip(*seconds, strict=True))


# Stored fits


def fit_observations(
    architecture: type[DeepImagePrior],
    observation: Observation,
    seeds: Sequence[int],
    iterations: Sequence[int],
    size: int,
    width: int | None,
    method: FittingMethod,
    rules: Sequence[type[StoppingRule]],
    x_0: Tensor | None,
    clock: Callable[[], float],
) -> dict[str, Any]:
    """:func:`fit_dip` as a store keeps it; image i draws from a generator of ``seeds[i]``."""
    rng = ImageRng(seeds, observation.y.device)
    return fit_dip(
        architecture, observation, rng, iterations=iterations, size=size, width=width, method=method, rules=rules,
        x_0=x_0, clock=clock,
    ).packed()  # fmt: skip


@dataclass(frozen=True)
class StoredFit:
    """A fit that was found or made, and the peak bytes that making it added."""

    fit: DipFit
    memory: int


def stored_fit(
    memo: Memo,
    architecture: type[DeepImagePrior],
    observation: Observation,
    seeds: Sequence[int],
    *,
    iterations: Sequence[int],
    size: int,
    width: int | None = None,
    method: FittingMethod | None = None,
    rules: Sequence[type[StoppingRule]] = (),
    x_0: Tensor | None = None,
    clock: Callable[[], float] = time.perf_counter,
    run: Execute = direct,
) -> StoredFit:
    """The fit of these networks to these observations: found by its content, or made and stored."""
    leaking = any(rule.leak != "none" for rule in rules)
    found = memo(
        fit_observations,
        {
            "architecture": architecture, "observation": observation, "seeds": list(seeds),
            "iterations": sorted(set(iterations)), "size": size, "width": width,
            "method": method or fitting_method("plain"), "rules": list(rules), "x_0": x_0 if leaking else None,
        },
        aside={"clock": clock},
        run=run,
    )  # fmt: skip
    return StoredFit(DipFit.unpacked(found.value), found.memory)
