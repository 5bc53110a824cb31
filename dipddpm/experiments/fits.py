"""What the restoration experiment rests on: photographs, their observations, and the DIPs fitted to them.

Each is computed at most once: ``memo`` returns the stored result if the same call was computed before, in this session
or any earlier one. Nothing here knows how results are stored or printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dipddpm import dip, tasks
from dipddpm.batches import ChargedClock
from dipddpm.data import Dataset, Split, to_float
from dipddpm.denoisers import Denoiser
from dipddpm.experiments.arms import Arm, RestorationAxes, is_ablated
from dipddpm.experiments.recipes import Recipe, as_recipe
from dipddpm.experiments.tuning import merit
from dipddpm.fitting import DipFit, FittingMethod, StoredFit, stored_fit
from dipddpm.memo import Execute, Memo, direct
from dipddpm.metrics.psnr import Psnr
from dipddpm.priors import Evidence
from dipddpm.rng import ImageRng, image_keys
from dipddpm.stopping import stopping_rule_class
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Images:
    """Photographs of a split: x_0 (N, 3, H, W) in [-1, 1] and, per image, the key that its seeds derive from and the
    name of the photograph that it was cut from."""

    x_0: Tensor
    keys: tuple[str, ...]
    photographs: tuple[str, ...] = ()


class Fits:
    """The images of one data set, degraded by each task, and the DIP fits to them, of one seed.

    Args:
        axes: how many images, and which architectures and durations.
        memo: finds or computes and stores.
        seed: from which the observations, the fits and the samples on the test images draw.
        tuning_seed: the same for the validation images. All repeats have the same one, so that they share the settings.
        clock: returns seconds; should wait for the device.
        denoiser: for the ways of fitting that use one.
    """

    def __init__(
        self,
        axes: RestorationAxes,
        dataset: Dataset,
        memo: Memo,
        *,
        seed: int = 0,
        tuning_seed: int = 0,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
        denoiser: Denoiser | None = None,
    ):
        self.denoiser = denoiser
        self.axes, self.dataset, self.memo = axes, dataset, memo
        self.seeds: Mapping[Split, int] = {"test": seed, "validation": tuning_seed}
        self.seed, self.device, self.clock = seed, torch.device(device), ChargedClock(clock)
        # Caching a bound method keeps this object alive. That is harmless: it lives as long as the session anyway.
        self.images = cache(self._images)
        self.observation = cache(self._observation)
        self.method, self.refuses = cache(self._method), cache(self._refuses)
        self._fits: dict[tuple[str, Recipe, Split], StoredFit] = {}

    def _images(self, split: Split) -> Images:
        count = self.axes.images if split == "test" else self.axes.validation_images
        pixels = self.dataset.sample(split, count)
        photographs = self.dataset.sample_photographs(split, count)
        return Images(to_float(pixels).to(self.device), tuple(image_keys(pixels)), tuple(photographs))

    def rng(self, split: Split, task: str, purpose: str, device: torch.device | str | None = None) -> ImageRng:
        """The generators of a split's images for a purpose, one per image. They do not depend on the arm, so that all
        arms draw the same numbers."""
        keys = self.images(split).keys
        return ImageRng.for_images(keys, self.seeds[split], task, purpose, device=device or self.device)

    def _observation(self, task: str, split: Split) -> Observation:
        x_0 = self.images(split).x_0.cpu()
        return tasks.task(task).observe(x_0, self.rng(split, task, "observe", "cpu")).to(self.device)

    def width(self, architecture: str) -> int | None:
        """The width that an architecture is built with. None is its published width; ``name:matched`` has the width
        with as many parameters as the first architecture of the axes."""
        return dip.width_for(architecture, self.dataset.size, self.axes.architectures[0])

    def _refuses(self, recipe: Recipe, task: str) -> str:
        """Why a recipe cannot be fitted to a task, as the end of a sentence that begins with its name; "" if it can."""
        method = self._given(recipe.method())
        return method.refuses(recipe.network, self.observation(task, "validation"), self.width(recipe.architecture))

    def stored_fit(self, task: str, recipe: Recipe | str, split: Split = "test", run: Execute = direct) -> StoredFit:
        """The DIP fit of a recipe to a split's observations, with the memory it took; the name of an architecture
        means its plain fit.

        Stopping rules watch the fit where arms use them. Only a rule that declares that it leaks is given the
        photographs, and only on the test split.
        """
        recipe = as_recipe(recipe)
        if (task, recipe, split) not in self._fits:
            method = self.method(recipe, task)
            self._fits[task, recipe, split] = self._stored_fit(task, recipe, method, split, run)
        return self._fits[task, recipe, split]

    def _stored_fit(
        self, task: str, recipe: Recipe, method: FittingMethod, split: Split, run: Execute = direct
    ) -> StoredFit:
        watching = map(stopping_rule_class, self.axes.rules) if is_ablated(recipe, self.axes, task) else ()
        durations = self.axes.iterations_for(task, recipe)
        return stored_fit(
            self.memo,
            recipe.network,
            self.observation(task, split),
            self.rng(split, task, "dip").seeds,
            iterations=[0, *curve(durations[-1]), *durations],
            size=self.dataset.size,
            width=self.width(recipe.architecture),
            method=method,
            rules=[rule for rule in watching if split == "test" or rule.leak == "none"],
            x_0=self.images(split).x_0,
            clock=self.clock,
            run=run,
        )

    def _method(self, recipe: Recipe, task: str) -> FittingMethod:
        """The fitting method of a recipe on a task. Of its variants and learning rates it is the one whose DIP alone
        has the highest PSNR on the validation images, each at its own best duration."""
        methods = [v for lr in recipe.rates or (None,) for v in self._given(recipe.method(lr)).variants()]
        if len(methods) == 1:
            return methods[0]
        psnr, x_0 = Psnr(), self.images("validation").x_0
        observation = self.observation(task, "validation")

        def best(method: FittingMethod) -> float:
            fit = self._stored_fit(task, recipe, method, "validation").fit
            mus = [observation.consistent(fit.mu(i)) for i in self.axes.iterations_for(task, recipe)]
            return max(merit(float(psnr(mu, x_0).mean()), higher_is_better=True) for mu in mus)

        return max(methods, key=best)

    def _given(self, method: FittingMethod) -> FittingMethod:
        return method.with_denoiser(self.denoiser) if self.denoiser else method

    def fit(self, task: str, recipe: Recipe | str, split: Split = "test") -> DipFit:
        """The DIP fit of a recipe to a split's observations."""
        return self.stored_fit(task, recipe, split).fit

    def evidence(
        self, arm: Arm, task: str, split: Split = "test", denoiser: Denoiser | None = None
    ) -> Evidence:  # fmt: skip
        """The evidence that the prior of an arm is made from: only those parts that the prior declares it needs."""
        fitted = None
        if arm.recipe:
            fitted = self.fit(task, arm.recipe, split).mu(arm.iterations, arm.output, arm.rule)
        everything = Evidence(self.observation(task, split), fitted, self.images(split).x_0, denoiser)
        return everything.shown_to(arm.prior)


def curve(longest: int) -> list[int]:
    """Durations at which a fit is recorded besides those that are asked for: two per octave, from 5 to ``longest``."""
    found, at = [], 5.0
    while at < longest:
        found.append(round(at))
        at *= 2**0.5
    return found
