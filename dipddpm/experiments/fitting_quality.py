"""How good a DIP recipe gets, and how soon: quality by duration, and the time to the quality of the plain fit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from dipddpm.data import Split
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.recipes import Recipe
from dipddpm.experiments.restoration import Cell, Restoration
from dipddpm.memo import Execute, direct
from dipddpm.metrics import Metric, metric
from dipddpm.priors import HYPOTHESIS


@dataclass(frozen=True)
class FitCurve:
    """Quality of a DIP alone along its trajectory.

    Attributes:
        iterations: (S,), durations, ascending; the first is 0.
        quality: (S, N), per image.
        seconds: (S,), per image.
    """

    iterations: tuple[int, ...]
    quality: np.ndarray
    seconds: tuple[float, ...]

    def reached(self, levels: np.ndarray, higher_is_better: bool = True) -> np.ndarray:
        """(N,) index of the first duration at which each image reaches its level; S where it never does."""
        sign = 1 if higher_is_better else -1
        there = sign * self.quality >= sign * levels
        return np.where(there.any(0), there.argmax(0), len(self.iterations))


@dataclass(frozen=True)
class FittingQuality:
    """The quality and cost of a recipe on a task.

    Attributes:
        iterations: of the task's durations, the one that is best on the validation images; passes: how many passes
            through the network, forward and backward, it takes.
        alone: (N,) quality of the DIP alone at that duration; seconds: its cost per image.
        seconds_to_level: (N,) seconds until each image has the quality that the plain fit of the first architecture
            has at its best duration; the seconds of the whole fit where it never gets there.
        reached: (N,) whether each image gets there.
        best: of the cells with diffusion after the DIP, the one that is best on the validation images.
        memory: peak bytes that the batch added.
    """

    iterations: int
    passes: float
    alone: np.ndarray
    seconds: float
    seconds_to_level: np.ndarray
    reached: np.ndarray
    best: Cell
    memory: int


class FittingExperiment:
    """Scores every recipe of a restoration experiment by its primary judge."""

    def __init__(self, restoration: Restoration):
        self.restoration, self.fits = restoration, restoration.fits
        self.judge: Metric = metric(restoration.axes.judges[0])
        self.curve, self.best_duration = cache(self._curve), cache(self._best_duration)

    def recipes(self, task: str) -> list[Recipe]:
        """The recipes that can be fitted on a task."""
        return [r for r in self.restoration.axes.recipes_for(task) if not self.fits.refuses(r, task)]

    def _curve(self, task: str, recipe: Recipe, split: Split) -> FitCurve:
        fit, observation = self.fits.fit(task, recipe, split), self.fits.observation(task, split)
        x_0 = self.fits.images(split).x_0
        quality = [self.judge(observation.consistent(mu), x_0) for mu in fit.last]
        seconds = tuple(s / len(x_0) for s in fit.seconds)
        return FitCurve(fit.iterations, torch.stack(quality).cpu().numpy(), seconds)

    def _best_duration(self, task: str, recipe: Recipe) -> int:
        choices = self.restoration.axes.iterations_for(task, recipe)
        curve = self.curve(task, recipe, "validation")
        sign = 1 if self.judge.higher_is_better else -1
        return max(choices, key=lambda i: sign * curve.quality[curve.iterations.index(i)].mean())

    def quality(self, task: str, recipe: Recipe, run: Execute = direct) -> FittingQuality:
        """The quality of a recipe on the test images of a task, alone and with diffusion after it."""
        first = Recipe(self.restoration.axes.architectures_for(task)[0])
        stored = self.fits.stored_fit(task, recipe, run=run)
        curve, plain = self.curve(task, recipe, "test"), self.curve(task, first, "test")
        at = self.best_duration(task, recipe)
        level = self.best_duration(task, first)
        place = curve.reached(plain.quality[plain.iterations.index(level)], self.judge.higher_is_better)
        seconds = np.array([*curve.seconds, curve.seconds[-1]])
        chosen = curve.iterations.index(at)
        return FittingQuality(
            iterations=at,
            passes=at * self.fits.method(recipe, task).passes,
            alone=curve.quality[chosen],
            seconds=curve.seconds[chosen],
            seconds_to_level=seconds[place],
            reached=place < len(curve.iterations),
            best=self._best_with_diffusion(task, recipe, run),
            memory=stored.memory,
        )

    def _best_with_diffusion(self, task: str, recipe: Recipe, run: Execute) -> Cell:
        restoration, sign = self.restoration, 1 if self.judge.higher_is_better else -1
        arms = [Arm.named(HYPOTHESIS, recipe, i) for i in restoration.axes.iterations_for(task, recipe)]
        budgets = {arm: restoration.best_budget(arm, task) for arm in arms}
        best = max(arms, key=lambda arm: sign * restoration.tuned(arm, task, budgets[arm]).validation)
        return restoration.cell(task, best, budgets[best], run)
