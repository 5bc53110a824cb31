"""How long a unit of each kind of work takes, all measured in turns: a pass of a DIP, an evaluation, the estimate of a
control, a check by a stopping rule.

A run takes hours, in which the machine slows down and speeds up. If each arm were charged the seconds of its own
execution, an arm that ran while the machine was busy would look more expensive than its rivals. That would change the
comparison itself, because a rival is an arm that costs no more than the treatment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting import FittingMethod, fit_dip
from dipddpm.fitting.trajectory import Problem, RunningAverage, Trajectory
from dipddpm.measure.instruments.interleaved_timing import Turn, in_turns, timed
from dipddpm.networks import build
from dipddpm.prior_sets import make_prior
from dipddpm.priors import Evidence, Prior
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation

AT_ONCE, AT_ONCE_CUDA = 16, 64
"""Images at most that a turn works on, on a CPU and on a GPU. On a CPU an image of 4 takes an evaluation as long as one
of 120, within 10 %, and one of 12 an iteration of a fit a tenth less than one of 8."""
ENOUGH = 0.05  # seconds; a control that takes longer for all images is timed on fewer of them, at least FEWEST
FEWEST = 4
LEAST, MOST = 0.02, 1000  # least seconds of a turn (shorter ones scatter), most repetitions of the work to fill them
LONG = 10**4  # duration of a fit that is timed: more iterations than any timing runs
LOOKS = 20  # iterates that a stopping rule is shown in a turn


class StageWork(Protocol):
    """A kind of work on a batch of images that takes a counted number of units per image."""

    unit: ClassVar[str]

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        """A turn of this work, the units per image in one turn, and the number of images."""


@dataclass(frozen=True)
class Passes:
    """Passes forward and backward of DIP networks that are fitted in one way.

    The time to build the networks, about that of one to two iterations, is not charged to any arm. On a CPU the
    networks are built once, and every turn continues the fit of the last one. They are built anew in every turn on a
    GPU, where networks and the graphs of their iterations would fill the memory, and for a method that is no
    trajectory.
    """

    unit: ClassVar[str] = "pass"
    architecture: type[DeepImagePrior]
    observation: Observation
    seeds: Sequence[int]
    size: int
    width: int | None
    method: FittingMethod

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        observation = some(self.observation)
        images, period = len(observation.y), getattr(self.method, "every", 1)  # some work comes only once a period
        if isinstance(self.method, Trajectory) and not observation.y.is_cuda:
            return timed(self._going_on(self.method, observation), clock, period), period * self.method.passes, images
        first, iterations = 4, period * math.ceil(20 / period)  # a GPU replays a graph from the fourth iteration on

        def fit() -> float:
            made = fit_dip(
                self.architecture, observation, self._rng(observation), iterations=[first, first + iterations],
                size=self.size, width=self.width, method=self.method, clock=clock,
            )  # fmt: skip
            return made.seconds[1] - made.seconds[0]

        return fit, iterations * self.method.passes, images

    def _rng(self, observation: Observation) -> ImageRng:
        return ImageRng(self.seeds[: len(observation.y)], observation.y.device)

    def _going_on(self, method: Trajectory, observation: Observation) -> Callable[[], object]:
        """A function that runs one more iteration of the same fit at each call."""
        rng = self._rng(observation)
        network, z = build(self.architecture, rng, self.size, self.width)
        steps = method.begin(Problem(self.architecture, observation, rng, self.size, (LONG,), network, z))
        average = steps.average or RunningAverage(method.ema_decay)
        return lambda: average.see(steps.step())


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of a denoiser in the sampling of restorations, each held to y."""

    unit: ClassVar[str] = "evaluation"
    denoiser: Denoiser
    observation: Observation
    seeds: Sequence[int]

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        observation, setting = some(self.observation), Setting(2, sampler="ddim", eta=1.0)
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

        images = len(some(self.evidence.observation).y)
        seconds(1)  # the first call imports modules
        few = min(images, FEWEST)
        took = max(seconds(few), 1e-6)
        images = min(images, max(FEWEST, round(few * ENOUGH / took)))
        return (lambda: seconds(images)), 1, images


@dataclass(frozen=True)
class Looks:
    """Checks of iterates by a stopping rule, for a fit that lasts as long as the one that the rule watched."""

    unit: ClassVar[str] = "iteration"
    rule: type[StoppingRule]
    budget: int
    x_0: Tensor

    def turn(self, clock: Callable[[], float]) -> tuple[Turn, float, int]:
        x_0 = self.x_0[: AT_ONCE_CUDA if self.x_0.is_cuda else AT_ONCE]
        rule = self.rule(self.budget, x_0 if self.rule.leak != "none" else None)
        outputs = [x_0.roll(shift, 2) for shift in range(LOOKS)]
        looked = 0

        def look() -> None:
            nonlocal looked
            for output in outputs:
                looked += 1
                rule.see(looked, output)

        return timed(look, clock), LOOKS, len(x_0)


def some(observation: Observation) -> Observation:
    """The first images of an observation, as many as a turn works on."""
    return observation.part(slice(AT_ONCE_CUDA if observation.y.is_cuda else AT_ONCE))


def time_stages(works: Mapping[str, StageWork], rounds: int, clock: Callable[[], float]) -> dict[str, object]:
    """Seconds per unit and image of each kind of work, one value per round: A B C ... A B C ...

    Args:
        clock: seconds; should wait for the device.

    Returns:
        {name: {"batch": images at once, "samples": a value per round}}
    """
    turns, counts = dict[str, Turn](), dict[str, tuple[float, int]]()
    for name, work in works.items():
        once, units, images = work.turn(clock)
        loops = min(MOST, max(1, math.ceil(LEAST / max(once(), LEAST / MOST))))
        turns[name] = partial(_repeated, once, loops)
        counts[name] = loops * units, images
    taken = in_turns(turns, rounds, warm=True)  # counting the loops of each turn has warmed it up
    made: dict[str, object] = {}
    for name, (units, images) in counts.items():
        made[name] = {"batch": images, "samples": [seconds / units / images for seconds in taken[name]]}
    return made


def _repeated(turn: Turn, loops: int) -> float:
    return sum(turn() for _ in range(loops))
