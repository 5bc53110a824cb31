"""Fitting Deep Image Priors to any number of images: as one batch, or in slices where memory is short."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dipddpm.batches import in_batches, joined
from dipddpm.dip import DeepImagePrior
from dipddpm.errors import InputError
from dipddpm.fitting.plain import DipFit, fit_dip
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation


def fit_in_batches(
    architecture: type[DeepImagePrior],
    observation: Observation,
    rng: ImageRng,
    *,
    iterations: Sequence[int],
    size: int = 32,
    width: int | None = None,
    rules: Callable[[slice], Sequence[StoppingRule]] = lambda images: (),
    clock: Callable[[], float] = time.perf_counter,
) -> DipFit:
    """:func:`dipddpm.fitting.plain.fit_dip`, with half the images at once where all of them run out of memory.

    Args:
        rules: makes the stopping rules for some of the images: a rule has a state for each image that it watches.
        clock: seconds; those of the slices add up, and an attempt that ran out of memory costs nothing.

    Raises:
        InputError: as there, or a single image does not fit into memory.
    """
    if len(rng) != len(observation.y):
        raise InputError(f"{len(rng)} generators for {len(observation.y)} images")

    def fit(images: slice) -> DipFit:
        with rng.attempt(images) as own:
            return fit_dip(
                architecture, observation.part(images), own,
                iterations=iterations, size=size, width=width, rules=rules(images), clock=clock,
            )  # fmt: skip

    stage = f"DIP fit ({architecture.name}{f', width {width}' if width else ''}, {size} px, {rng.device.type})"
    return together(in_batches(stage, len(rng), fit))


def together(fits: Sequence[DipFit]) -> DipFit:
    """The fits of the slices of a batch as one; their seconds add up, since one ran after the other."""
    first = fits[0]
    if len(fits) == 1:
        return first
    return DipFit(
        iterations=first.iterations,
        last=joined([fit.last for fit in fits], 1),
        ema=joined([fit.ema for fit in fits], 1),
        loss=joined([fit.loss for fit in fits], 1),
        seconds=tuple(sum(slices) for slices in zip(*(fit.seconds for fit in fits), strict=True)),
        parameters=first.parameters,
        stopped={
            name: (joined([fit.stopped[name][0] for fit in fits]), joined([fit.stopped[name][1] for fit in fits]))
            for name in first.stopped
        },
    )
