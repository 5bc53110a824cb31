"""What an arm of the training comparison restores, judged as a population: KID, and FD where the images suffice.

PSNR rewards the mean of all images that y allows, and a network in training is a blurred one. Whether its restorations
look like photographs is another question, asked of other test photographs than those that PSNR is a mean over.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dipddpm import population, restore, sampling, tasks
from dipddpm.data import to_uint8
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.experiments.fits import recipe
from dipddpm.experiments.training_quality import Learning
from dipddpm.experiments.training_runs import Learner
from dipddpm.injection import injection
from dipddpm.prior_sets import observe
from dipddpm.rng import ImageRng, image_keys, seed_for

if TYPE_CHECKING:
    from dipddpm.extractors import Extractor

# By name: torch-fidelity takes seconds to import, and a run whose scores are found has no use for it.
METRICS = (module.name for module in pkgutil.iter_modules(population.__path__, "dipddpm.population."))
SCORING: list[object] = ["dipddpm.extractors", *METRICS]
"""The code that decides population scores."""
JUDGED_BY = ("kid", "fd")

Value = tuple[float, tuple[float, float] | None, bool]
"""A value, its 95 % interval over the samples where there is one, and whether higher is better."""


@cache
def identity(extractor: str) -> list[str]:
    """What an extractor is known by without opening it: its name, and the bytes of the file it is loaded from."""
    name, _, location = extractor.partition(":")
    file = Path(location) if location else Path(population.__file__).parents[1] / "extractors" / f"{name}.safetensors"
    return [extractor, hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""]


class Judging:
    """Populations of restorations, with the networks of a training comparison.

    Args:
        extractor: as ``open_extractor`` takes it.
    """

    def __init__(self, learning: Learning, extractor: str = "embedded64"):
        self.learning, self.extractor = learning, extractor
        self.reference = cache(self._reference)
        self._seen = cache(self._open)

    def _reference(self) -> tuple[Tensor, str]:
        """(M, 3, H, W) uint8 that restorations are held against, and what titles call it.

        Photographs of the training split that no network here is trained on; where fewer are left than restorations,
        those that the networks are trained on.
        """
        runs, dataset = self.learning, self.learning.experiment.dataset
        every = dataset.sample("train", len(dataset.load("train")))
        unseen = every[len(runs.images("train")) :][-runs.profile.population_reference :]
        if len(unseen) >= len(runs.images("population")):
            return unseen, "train"
        return runs.images("train"), "trained-on"

    def _open(self) -> tuple[Extractor, Tensor]:
        """The extractor and its features of the reference."""
        from dipddpm.extractors import open_extractor

        network = open_extractor(self.extractor, self.learning.device)
        return network, network.features(self.reference()[0])

    def judged(self, task: str, learner: Learner, updates: int) -> Mapping[str, Value]:
        """Scores by title of an arm after ``updates``: restored by its averaged weights in the setting tuned for it."""
        runs, setting = self.learning, self.learning.learnt(task, learner, updates).setting
        images, denoiser = runs.images("population"), runs.denoiser(task, learner, updates)
        (reference, split), seed = self.reference(), runs.experiment.seeds["test"]
        made = runs.prior_set(task, learner, "population")

        def compute() -> tuple[dict, dict]:
            from dipddpm.population.scores import scores

            parts = []
            for chosen in torch.arange(len(images)).split(runs.profile.training_prior_batch):
                observation = observe(images[chosen], task, seed, runs.device)
                rng = ImageRng.for_images(image_keys(images[chosen]), seed, task, "sample", device=runs.device)
                mu = made.mu[chosen].to(runs.device) if made else None
                parts.append(to_uint8(restore.restore(denoiser, observation, mu, setting, rng)[0]).cpu())
            network, held = self._seen()
            features = network.features(torch.cat(parts))
            found = scores(features, held, held, network, split, only=JUDGED_BY)
            return {"scores": {title: [s.value, s.interval, s.higher_is_better] for title, s in found.items()}}, {}

        config = {
            "images": image_keys(images), "reference": [split, seed_for(*image_keys(reference))], "task": task,
            "seed": seed, "priors": made.record() if made else None, "denoiser": denoiser.fingerprint,
            "setting": asdict(setting), "extractor": identity(self.extractor), "code": recipe(Judging),
        }  # fmt: skip
        sources = [*SCORING, restore, sampling, UNetDenoiser, type(injection(learner.way)), type(tasks.task(task))]
        return self.learning.memo("learnt populations", config, sources, compute).info["scores"]
