"""Training runs that are compared: what each is trained with, and its state after some updates.

All arms of a seed see the same images in the same order with the same (t, eps), from the same initial weights. They
differ in how a prior enters, and in which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from torch import Tensor

from dipddpm.data import Split, last_in_turns, open_dataset, to_uint8
from dipddpm.denoisers.unet import UNetDenoiser, fingerprint
from dipddpm.errors import InputError
from dipddpm.experiments.restoration import Restoration
from dipddpm.experiments.training_arms import (
    OTHER_IMAGES,
    PLAIN,
    TrainingArm,
    TrainingAxes,
    training_arms,
    untrained_rows,
)
from dipddpm.experiments.training_steps import initial_weights, train_stretch
from dipddpm.memo import Execute, direct
from dipddpm.prior_sets import PriorSet, PriorSettings, make_priors, observe
from dipddpm.priors import Prior
from dipddpm.rng import ImageRng, image_keys
from dipddpm.schedule import Schedule
from dipddpm.training import TrainingSettings
from dipddpm.unet import UNet

Part = Split | Literal["population"]
"""Which images: those of a split, or the test photographs that are judged as a population."""


@dataclass(frozen=True)
class TrainingState:
    """An arm's training after some updates.

    Attributes:
        tensors: weights, their average and the optimiser's moments, by name.
        memory: peak bytes added while training from the last checkpoint to this one.
        initial_seconds: seconds of fitting the initial weights, 0 where none were fitted.
    """

    tensors: Mapping[str, Tensor]
    memory: int
    initial_seconds: float


class TrainingRuns:
    """The training runs that belong to a restoration experiment: they have its data set, test images and seed.

    The observations and priors of the training images are those of the tuning seed, the same for all repeats: repeats
    differ in initial weights, order of images, t and eps.
    """

    def __init__(self, restoration: Restoration, axes: TrainingAxes):
        self.restoration, self.fits, self.axes = restoration, restoration.fits, axes
        self.memo, self.device, self.seed = self.fits.memo, self.fits.device, self.fits.seed
        self.schedule, self.size = Schedule.linear(), restoration.denoiser.size
        self.config: dict[str, Any] = {"size": self.size, "channels": list(axes.channels)}
        self.checkpoints = (0, *axes.updates)
        self.positions = cache(self._positions)
        self.images = cache(self._images)
        self.priors_of = cache(self._priors_of)
        self._states: dict[tuple[str, TrainingArm, int], TrainingState] = {}
        self.denoiser = cache(self._denoiser)

    def arms(self, task: str) -> list[TrainingArm]:
        """Every arm that makes sense for a task."""
        observation = self.fits.observation(task, "validation")
        return training_arms(lambda prior: prior.applies(observation))

    def rows(self, task: str) -> list[TrainingArm]:
        """Every arm, and two rows for each prior that they are given: the plain network started from it, and the prior
        alone."""
        arms = self.arms(task)
        return [*arms, *untrained_rows(arms)]

    def settings(self, updates: int) -> TrainingSettings:
        """How every network is trained for so many updates."""
        axes = self.axes
        return TrainingSettings(updates, batch=axes.batch, lr=axes.lr, warmup=axes.warmup, decay=False, seed=self.seed)

    # Images and priors that training uses

    def _positions(self, part: Part) -> tuple[Split, list[int]]:
        """Where the images of a part lie: the split, and the positions in it.

        The networks are trained on images from as few photographs as possible, so that images of the other photographs
        can be a reference for restorations. The images of the population differ from the test images as far as the
        test split has enough images.
        """
        dataset, axes = self.fits.dataset, self.axes
        if part == "train":
            return "train", dataset.divided("train", min(axes.images, len(dataset.images("train"))))[0]
        if part == "population":
            names = dataset.photographs("test")
            return "test", last_in_turns(dataset.sampled("test", len(names)), names, axes.population)
        return part, []

    def _images(self, part: Part) -> Tensor:
        """uint8 images, on the CPU."""
        if part in ("train", "population"):
            split, positions = self.positions(part)
            return self.fits.dataset.images(split)[positions]
        return to_uint8(self.fits.images(part).x_0.cpu())

    def prior_set(self, task: str, arm: TrainingArm, part: Part) -> PriorSet | None:
        """mu of every image of a part, made by the same code and settings in all parts; None for an arm without mu."""
        return self.priors_of(task, arm.prior, part) if arm.prior is not None and arm.takes_mu else None

    def _priors_of(self, task: str, prior: Prior, part: Part) -> PriorSet:
        seeds = self.fits.seeds
        seed = seeds["test"] if part in ("test", "population") else seeds["validation"]
        fitted = (self.axes.architecture, self.axes.iterations) if prior.uses_dip else ("", 0)
        return make_priors(
            self.images(part), PriorSettings(prior.name, task, *fitted, seed), self.memo, device=self.device,
            clock=self.fits.clock, batch=self.axes.prior_batch,
        )  # fmt: skip

    def mu(self, task: str, arm: TrainingArm, part: Part) -> Tensor | None:
        """(N, 3, H, W) in [-1, 1], the priors of a part's images, on the device; None if the network is given none."""
        made = self.prior_set(task, arm, part)
        return made.mu.to(self.device) if made else None

    # Training

    def trained(self, task: str, arm: TrainingArm, updates: int, run: Execute = direct) -> TrainingState:
        """The state of an arm's training after ``updates``, which is one of ``checkpoints``. Training continues from
        the checkpoint before.

        The time of the updates is not measured here, because the machine may be faster or slower for each arm:
        :class:`~dipddpm.experiments.update_times.UpdateTimes` measures all arms in turns.
        """
        if (task, arm, updates) not in self._states:
            self._states[task, arm, updates] = self._trained(task, arm, updates, run)
        return self._states[task, arm, updates]

    def _trained(self, task: str, arm: TrainingArm, updates: int, run: Execute) -> TrainingState:
        if arm.use != "trained":
            raise InputError(f"{arm.name}: no network is trained so")
        made, weights, seconds = self.prior_set(task, arm, "train"), None, 0.0
        if arm.injection.initialises:
            weights, seconds = self._initial(task, arm)
        before = None
        if updates:
            before = self.trained(task, arm, self.checkpoints[self.checkpoints.index(updates) - 1])
        found = self.memo(
            train_stretch,
            {
                "injection": arm.injection, "images": self.images("train"), "mu": made.mu if made else None,
                "config": self.config, "settings": self.settings(updates), "schedule": self.schedule,
                "device": self.device, "weights": None if before else weights,
                "state": before.tensors if before else None,
            },
            run=run,
        )  # fmt: skip
        return TrainingState(found.value["state"], found.memory, seconds)

    def _initial(self, task: str, arm: TrainingArm) -> tuple[Mapping[str, Tensor], float]:
        """Weights fitted to observations, and the seconds of the fit. The observations are of the training images, or
        of photographs in no training set here (from the split that photo-patches keeps for choosing settings)."""
        images = self.images("train")
        if arm.fitted_to == OTHER_IMAGES:
            images = open_dataset("photo-patches", size=self.size).load("validation")[: len(images)]
        seed = self.fits.seeds["validation"]
        found = self.memo(
            initial_weights,
            {
                "injection": arm.injection, "observation": observe(images, task, seed, self.device),
                "seeds": ImageRng.for_images(image_keys(images), seed, task, "weights").seeds,
                "iterations": self.axes.iterations, "config": self.config, "seed": self.seed, "schedule": self.schedule,
            },
            aside={"clock": self.fits.clock},
        )  # fmt: skip
        return found.value["weights"], found.value["seconds"]

    def _denoiser(self, task: str, arm: TrainingArm, updates: int) -> UNetDenoiser:
        """The network with the averaged weights after ``updates``. An arm that trains no network has the plain network;
        for a prior alone this network is never evaluated and has the initial weights."""
        if arm.use != "trained":
            return self.denoiser(task, PLAIN, 0 if arm.use == "alone" else updates)
        tensors = self.trained(task, arm, updates).tensors
        weights = {name.removeprefix("ema."): v for name, v in tensors.items() if name.startswith("ema.")}
        model = UNet.with_weights({**self.config, "in_channels": arm.injection.channels}, weights, arm.name)
        known_by = fingerprint(model, self.schedule.T, arm.injection.name)
        return UNetDenoiser.of(model, self.schedule, arm.injection, known_by, self.device)
