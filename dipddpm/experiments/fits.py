"""What an experiment rests on: photographs, their observations, and the Deep Image Priors fitted to them.

Each is asked for by what it is and computed at most once: ``memo`` finds it by its content if it was computed before,
in this session or any earlier one. Nothing here knows how results are stored or printed.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dipddpm import dip, priors, tasks
from dipddpm.batches import ChargedClock
from dipddpm.data import Dataset, Split, to_float
from dipddpm.denoisers import Denoiser
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.profiles import Profile
from dipddpm.fitting import batches as fitting_batches
from dipddpm.fitting.batches import fit_in_batches
from dipddpm.fitting.plain import DipFit
from dipddpm.memo import Entry, Memo, Run, direct
from dipddpm.priors import Evidence
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.stopping import StoppingRule, stopping_rule, stopping_rules
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Images:
    """Photographs of a split: x_0 (N, 3, H, W) in [-1, 1] and the key that each owns its seeds by."""

    x_0: Tensor
    keys: tuple[str, ...]


@cache
def recipe(kind: type) -> int:
    """Hash of the code of a class that is no source for the memo to name, since it imports every variant there is."""
    return seed_for(inspect.getsource(kind))


class Fits:
    """The images of one data set, degraded by each task, and the DIP fits to them, of one profile and seed.

    Args:
        memo: finds or computes and stores.
        seed: of the observations, the fits and the samples on the test images.
        tuning_seed: of those on the validation images; the same for all repeats, so that they share the settings.
        clock: seconds; should wait for the device.
    """

    def __init__(
        self,
        profile: Profile,
        dataset: Dataset,
        denoiser: Denoiser,
        memo: Memo,
        *,
        seed: int = 0,
        tuning_seed: int = 0,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.profile, self.dataset, self.denoiser, self.memo = profile, dataset, denoiser, memo
        self.seeds: Mapping[Split, int] = {"test": seed, "validation": tuning_seed}
        self.seed, self.device, self.clock = seed, torch.device(device), ChargedClock(clock)
        self.images = cache(self._images)
        self.observation = cache(self._observation)
        self.fit = cache(self._fit)

    def _images(self, split: Split) -> Images:
        count = self.profile.images if split == "test" else self.profile.validation_images
        pixels = self.dataset.sample(split, count)
        return Images(to_float(pixels).to(self.device), tuple(image_keys(pixels)))

    def rng(self, split: Split, task: str, purpose: str, device: torch.device | str | None = None) -> ImageRng:
        """The generators of a split's images for a purpose. The arm has no say: all arms draw the same."""
        keys = self.images(split).keys
        return ImageRng.for_images(keys, self.seeds[split], task, purpose, device=device or self.device)

    def _observation(self, task: str, split: Split) -> Observation:
        x_0 = self.images(split).x_0.cpu()
        return tasks.task(task).observe(x_0, self.rng(split, task, "observe", "cpu")).to(self.device)

    def _base(self, task: str, split: Split) -> dict:
        """What decides every result: images, their seeds, the task."""
        given = {"images": self.images(split).keys, "size": self.denoiser.size, "seed": self.seeds[split]}
        return given | {"task": task, "fits": recipe(Fits)}

    # Deep Image Priors

    def _fit_config(self, task: str, architecture: str, split: Split) -> dict:
        rules = [name for name, rule in stopping_rules().items() if split == "test" or rule.leak == "none"]
        iterations = [0, *self.profile.iterations]
        network = {"architecture": architecture, "width": self.width(architecture)}
        return self._base(task, split) | network | {"iterations": iterations, "rules": rules}

    def width(self, architecture: str) -> int | None:
        """The width that an architecture is built with: None, its published one, or for ``name:matched`` the one that
        has as many parameters as the profile's first architecture."""
        return dip.width_for(architecture, self.denoiser.size, self.profile.architectures[0])

    def fit_entry(self, task: str, architecture: str, split: Split = "test", run: Run = direct) -> Entry:
        """The DIP fit of an architecture to a split's observations, with the time and memory it took."""
        config, network = self._fit_config(task, architecture, split), dip.architecture(architecture)

        def compute() -> tuple[dict, dict]:
            rules = [stopping_rule(name) for name in config["rules"]]
            fit = fit_in_batches(
                network,
                self.observation(task, split),
                self.rng(split, task, "dip"),
                iterations=config["iterations"],
                size=self.denoiser.size,
                width=config["width"],
                rules=lambda images: [self._watching(rule, split, images) for rule in rules],
                clock=self.clock,
            )
            arrays = {"last": fit.last, "ema": fit.ema, "loss": fit.loss}
            for name, (mu, charged) in fit.stopped.items():
                arrays |= {f"{name} mu": mu, f"{name} charged": charged}
            return {"iterations": fit.iterations, "seconds": fit.seconds, "parameters": fit.parameters}, arrays

        rules = [stopping_rule(name) for name in config["rules"]]
        return self.memo("fits", config, [fitting_batches, network, type(tasks.task(task)), *rules], compute, run)

    def _watching(self, rule: type[StoppingRule], split: Split, images: slice) -> StoppingRule:
        """A rule for the longest duration. Only one that declares that it leaks is shown the photographs."""
        return rule(self.profile.iterations[-1], self.images(split).x_0[images] if rule.leak != "none" else None)

    def _fit(self, task: str, architecture: str, split: Split = "test") -> DipFit:
        entry = self.fit_entry(task, architecture, split)
        stored, info = entry.tensors, entry.info
        names = [name.removesuffix(" mu") for name in stored if name.endswith(" mu")]
        return DipFit(
            iterations=tuple(info["iterations"]),
            last=stored["last"],
            ema=stored["ema"],
            loss=stored["loss"],
            seconds=tuple(info["seconds"]),
            parameters=info["parameters"],
            stopped={name: (stored[f"{name} mu"], stored[f"{name} charged"]) for name in names},
        )

    def mu(self, arm: Arm, task: str, split: Split = "test") -> Tensor | None:
        """The prior image of an arm. Only a prior that declares that it leaks is shown the photographs."""
        prior, fitted = priors.prior(arm.prior), None
        if arm.uses_dip:
            fitted = self.fit(task, arm.architecture, split).mu(arm.iterations, arm.output, arm.stopping)
        x_0 = self.images(split).x_0 if prior.leak != "none" else None
        return prior.mu(Evidence(self.observation(task, split), fitted, x_0))
