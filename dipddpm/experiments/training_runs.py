"""Training runs that are compared: which arms there are, what each is trained with, and its state after some updates.

All arms of a seed see the same images in the same order with the same (t, eps), from the same initial weights. They
differ in how a prior enters, and in which.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from dipddpm import dip, priors, tasks
from dipddpm.data import Split, open_dataset, to_uint8
from dipddpm.denoisers.unet import UNetDenoiser, fingerprint
from dipddpm.experiments.fits import recipe
from dipddpm.experiments.restoration import Experiment
from dipddpm.injection import Injection, injection, weights
from dipddpm.memo import Entry, Run, direct
from dipddpm.prior_sets import PriorRecipe, PriorSet, make_priors, observe
from dipddpm.rng import ImageRng, image_keys
from dipddpm.schedule import Schedule
from dipddpm.training import Recipe, Training, initial_network
from dipddpm.unet import UNet


@dataclass(frozen=True)
class Learner:
    """An arm of the comparison: how a prior enters the training, and which.

    Attributes:
        way: name of the injection.
        prior: name of the prior; for ``weights``, whose images the U-Net is fitted to as a DIP: "dip" those that it is
            trained on, "other" those of another set.
        role: ``plain`` (nothing enters), ``treatment`` or ``control``.
    """

    way: str
    prior: str = ""
    role: Literal["plain", "treatment", "control"] = "control"

    @property
    def name(self) -> str:
        """How tables name it: ``residual-dip``."""
        return f"{self.way}-{self.prior}" if self.prior else self.way


NONE = Learner("none", role="plain")
Part = Split | Literal["population"]
"""Which images: those of a split, or the test photographs that are judged as a population."""


class TrainingRuns:
    """The training runs of one experiment: its data set, test images, profile and seed.

    The observations and priors of the training images are those of the tuning seed, the same for all repeats: repeats
    differ in initial weights, order of images, t and eps.
    """

    def __init__(self, experiment: Experiment):
        self.experiment, self.memo, self.device = experiment, experiment.memo, experiment.device
        self.profile = p = experiment.profile
        self.schedule, self.size = Schedule.linear(), experiment.denoiser.size
        self.config: dict[str, Any] = {"size": self.size, "channels": list(p.training_channels)}
        self.checkpoints = (0, *p.training_updates)
        self.images = cache(self._images)
        self.prior_set = cache(self._prior_set)
        self.denoiser = cache(self._denoiser)

    def learners(self, task: str) -> list[Learner]:
        """Every arm that makes sense for a task; where nothing can be enlarged, a blur stands in for bicubic."""
        enlarges = priors.prior("bicubic").applies(self.experiment.observation(task, "validation"))
        cheap = "bicubic" if enlarges else "blur"
        return [
            NONE,
            *(Learner(way, "dip", "treatment") for way in ("residual", "concat", "weights")),
            *(Learner("residual", prior) for prior in ("mean_colour", cheap)),
            Learner("concat", cheap),
            Learner("weights", "other"),
        ]

    # What it rests on

    def _images(self, part: Part) -> Tensor:
        """uint8 images, on the CPU. Those of the population are other photographs than the test images, as far as the
        test split holds enough."""
        dataset = self.experiment.dataset
        if part == "train":
            return dataset.sample("train", self.profile.training_images, or_fewer=True)
        if part == "population":
            return dataset.sample("test", len(dataset.load("test")))[-self.profile.training_population :]
        return to_uint8(self.experiment.images(part).x_0.cpu())

    def _prior_set(self, task: str, learner: Learner, part: Part) -> PriorSet | None:
        """mu of every image of a part, by the same code and settings for all; None where the arm uses none."""
        if not injection(learner.way).sees_mu:
            return None
        p, seeds = self.profile, self.experiment.seeds
        seed = seeds["test"] if part in ("test", "population") else seeds["validation"]
        fitted = (p.training_architecture, p.training_iterations) if learner.prior == "dip" else ("", 0)
        made_by = PriorRecipe(learner.prior, task, *fitted, seed)
        return make_priors(
            self.images(part), made_by, self.memo, device=self.device, clock=self.experiment.clock,
            batch=p.training_prior_batch,
        )  # fmt: skip

    def _mu(self, task: str, learner: Learner, part: Part) -> Tensor | None:
        made = self.prior_set(task, learner, part)
        return made.mu.to(self.device) if made else None

    def _config(self, task: str, learner: Learner, recipe: Recipe) -> dict:
        """What decides the weights of an arm. Neither prior nor task do where it uses none."""
        made = self.prior_set(task, learner, "train")
        given = {"learner": learner.name, "recipe": asdict(recipe), "unet": self.config, "T": self.schedule.T}
        if injection(learner.way).initialises:
            fitted_with = self.experiment.seeds["validation"]
            given |= {"task": task, "iterations": self.profile.training_iterations, "fitted with": fitted_with}
        return given | {"images": self._trained_on(), "priors": made.record() if made else None}

    def _trained_on(self) -> str:
        """Hash of the training images."""
        return hashlib.sha256(self.images("train").numpy().tobytes()).hexdigest()[:16]

    def _recipe(self, updates: int) -> Recipe:
        p = self.profile
        return Recipe(
            updates, batch=p.training_batch, lr=p.training_lr, warmup=p.training_warmup, decay=False,
            seed=self.experiment.seed,
        )  # fmt: skip

    # Training

    def trained(self, task: str, learner: Learner, updates: int, run: Run = direct) -> Entry:
        """The state of an arm's training after ``updates``, one of ``checkpoints``; it goes on from the one before.

        Its ``info``: "prior", the seconds of fitting initial weights. How long the updates take is not measured here,
        where each arm would meet another state of the machine, but by ``pace``.
        """
        way, at = injection(learner.way), self.checkpoints.index(updates)
        made = self.prior_set(task, learner, "train")

        def compute() -> tuple[dict, dict]:
            before = self.trained(task, learner, self.checkpoints[at - 1]) if updates else None
            model = initial_network(self.config, self.experiment.seed, way.channels).to(self.device)
            clock, seconds = self.experiment.clock, before.info["prior"] if before else 0.0
            if not before and way.initialises:
                self._warm_up(model)
                started = clock()
                self._initialise(model, task, learner, way)
                seconds = clock() - started
            training = Training(model, self.schedule, self._recipe(updates), way, self.device)
            if before:
                training.load(before.tensors)
            while training.done < updates:
                training.update(self.images("train"), made.mu if made else None)
            return {"prior": seconds}, training.state()

        sources = [Training, type(way), UNet, *self._variants(task, learner)]
        code = {"code": recipe(TrainingRuns)}
        return self.memo("training", self._config(task, learner, self._recipe(updates)) | code, sources, compute, run)

    def _initialise(self, model: UNet, task: str, learner: Learner, way: Injection) -> None:
        """Let ``weights`` fit the network to observations: of the training images, or of photographs that no training
        set here has (of the split that photo-patches keeps for choosing settings)."""
        images = self.images("train")
        if learner.prior == "other":
            images = open_dataset("photo-patches", size=self.size).load("validation")[: len(images)]
        seed = self.experiment.seeds["validation"]
        observation = observe(images, task, seed, self.device)
        rng = ImageRng.for_images(image_keys(images), seed, task, "weights", device=self.device)
        way.initialise(model, observation, self.schedule, rng, self.profile.training_iterations)

    def _variants(self, task: str, learner: Learner) -> list[object]:
        """Variants of families that decide an arm's numbers, by name."""
        if learner.way == "none":
            return []
        kinds: list[object] = [type(tasks.task(task))]
        if learner.prior in priors.priors():
            kinds += [make_priors, type(priors.prior(learner.prior))]
        return kinds + ([dip.architecture(self.profile.training_architecture)] if learner.prior == "dip" else [])

    def _warm_up(self, model: UNet) -> None:
        """One unmeasured pass, forward and back, so that the fit of initial weights does not pay for start-up."""
        x = torch.zeros(weights.BATCH, model.config["in_channels"], self.size, self.size)
        t = torch.zeros(len(x), dtype=torch.long, device=self.device)
        model(x.to(self.device), t).sum().backward()
        model.zero_grad(set_to_none=True)

    def _denoiser(self, task: str, learner: Learner, updates: int) -> UNetDenoiser:
        """The averaged weights after ``updates``."""
        tensors = self.trained(task, learner, updates).tensors
        weights = {name.removeprefix("ema."): v for name, v in tensors.items() if name.startswith("ema.")}
        model = UNet(**{**self.config, "in_channels": injection(learner.way).channels})
        model.load_state_dict(weights)
        known_by = fingerprint(model, self.schedule.T, learner.way)
        return UNetDenoiser.of(model, self.schedule, learner.way, known_by, self.device)
