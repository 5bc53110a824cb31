"""What a unit of each kind of work takes: a pass of a DIP, an evaluation, a control's estimate, a look of a stopping
rule, all measured in turns.

A run takes hours, in which the machine slows down and speeds up. Were an arm charged what its own execution took, the
one that ran while the machine was busy would look dearer than its rivals, and "costs no more" decides who is a rival.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting import FittingMethod, fit_dip
from dipddpm.measure.instruments.interleaved_timing import Turn, in_turns, timed
from dipddpm.prior_sets import make_prior
from dipddpm.priors import Evidence, Prior
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation

AT_ONCE = 64
"""Images at most that a turn works on: from 4 images on, one of more takes an evaluation as long within 10 % on a CPU,
and on a GPU 64 are enough to fill it."""
ENOUGH = 0.05  # seconds of a turn of a control; one that takes longer for all images is timed on fewer, at least FEWEST
FEWEST = 4
LOOKS = 20  # of a stopping rule in a turn


class StageWork(Protocol):
    """A kind of work that is done for images, a counted number of units each."""

    unit: ClassVar[str]

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        """A turn of it, the units that each image gets in one, and the images."""


@dataclass(frozen=True)
class Passes:
    """Passes forward and backward of DIP networks that are fitted in one way.

    Building the networks is charged to nobody: it is what one to two iterations take.
    """

    unit: ClassVar[str] = "pass"
    architecture: type[DeepImagePrior]
    observation: Observation
    seeds: Sequence[int]
    size: int
    width: int | None
    method: FittingMethod

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        observation = self.observation.part(slice(AT_ONCE))
        cuda, images = observation.y.is_cuda, len(observation.y)
        # A GPU replays a graph from the fourth iteration on. What is done every few iterations is done once.
        first, period = (4 if cuda else 1), getattr(self.method, "every", 1)
        iterations = period * math.ceil((20 if cuda else 1) / period)

        def fit() -> float:
            rng = ImageRng(self.seeds[:images], observation.y.device)
            made = fit_dip(
                self.architecture, observation, rng, iterations=[first, first + iterations], size=self.size,
                width=self.width, method=self.method, clock=clock,
            )  # fmt: skip
            return made.seconds[1] - made.seconds[0]

        return fit, iterations * self.method.passes, images


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of a denoiser in the sampling of restorations, each held to y."""

    unit: ClassVar[str] = "evaluation"
    denoiser: Denoiser
    observation: Observation
    seeds: Sequence[int]

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        observation, setting = self.observation.part(slice(AT_ONCE)), Setting(2, sampler="ddim", eta=1.0)
        images, device = len(observation.y), observation.y.device

        def sample() -> object:
            return restore(self.denoiser, observation, None, setting, ImageRng(self.seeds[:images], device))

        return timed(sample, clock), setting.nfe, images


@dataclass(frozen=True)
class Estimates:
    """Estimates of photographs that a control makes from their observations."""

    unit: ClassVar[str] = "call"
    prior: Prior
    evidence: Evidence

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        def seconds(images: int) -> float:
            of = slice(images)
            part = Evidence(self.evidence.observation.part(of), None, None, self.evidence.denoiser)
            value = make_prior(self.prior, part, clock)["seconds"]
            assert isinstance(value, float)
            return value

        images = min(len(self.evidence.observation.y), AT_ONCE)
        seconds(1)  # the first call imports modules
        took = max(seconds(images), 1e-6)
        images = min(images, max(FEWEST, round(images * ENOUGH / took)))
        return (lambda: seconds(images)), 1, images


@dataclass(frozen=True)
class Looks:
    """Looks of a stopping rule at the iterates of a fit that lasts as long as the one it watched."""

    unit: ClassVar[str] = "iteration"
    rule: type[StoppingRule]
    budget: int
    x_0: Tensor

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        x_0 = self.x_0[:AT_ONCE]
        rule = self.rule(self.budget, x_0 if self.rule.leak != "none" else None)
        outputs = [x_0.roll(shift, 2) for shift in range(LOOKS)]
        looked = 0

        def look() -> None:
            nonlocal looked
            for output in outputs:
                looked += 1
                rule.see(looked, output)

        return timed(look, clock), LOOKS, len(x_0)


def time_stages(works: Mapping[str, StageWork], rounds: int, clock: Callable[[], float]) -> dict[str, object]:
    """Seconds per unit and image of each kind of work, one value per round: A B C ... A B C ...

    Args:
        clock: seconds; should wait for the device.

    Returns:
        {name: {"batch": images at once, "samples": a value per round}}
    """
    turns = {name: work.turn(clock) for name, work in works.items()}
    taken = in_turns({name: turn for name, (turn, _, _) in turns.items()}, rounds)
    made: dict[str, object] = {}
    for name, (_, units, images) in turns.items():
        made[name] = {"batch": images, "samples": [seconds / units / images for seconds in taken[name]]}
    return made
