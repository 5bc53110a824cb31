"""What the restoration experiment rests on: photographs, their observations, and the DIPs fitted to them.

Each is asked for by what it is and computed at most once: ``memo`` finds it by its content if it was computed before,
in this session or any earlier one. Nothing here knows how results are stored or printed.
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
from dipddpm.experiments.arms import Arm, RestorationAxes
from dipddpm.fitting import DipFit, StoredFit, stored_fit
from dipddpm.memo import Execute, Memo, direct
from dipddpm.priors import Evidence
from dipddpm.rng import ImageRng, image_keys
from dipddpm.stopping import stopping_rules
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
        seed: of the observations, the fits and the samples on the test images.
        tuning_seed: of those on the validation images; the same for all repeats, so that they share the settings.
        clock: seconds; should wait for the device.
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
    ):
        self.axes, self.dataset, self.memo = axes, dataset, memo
        self.seeds: Mapping[Split, int] = {"test": seed, "validation": tuning_seed}
        self.seed, self.device, self.clock = seed, torch.device(device), ChargedClock(clock)
        # The caches live as long as the session, and so do the fits.
        self.images = cache(self._images)
        self.observation = cache(self._observation)
        self._fits: dict[tuple[str, str, Split], StoredFit] = {}

    def _images(self, split: Split) -> Images:
        count = self.axes.images if split == "test" else self.axes.validation_images
        pixels = self.dataset.sample(split, count)
        photographs = self.dataset.sample_photographs(split, count)
        return Images(to_float(pixels).to(self.device), tuple(image_keys(pixels)), tuple(photographs))

    def rng(self, split: Split, task: str, purpose: str, device: torch.device | str | None = None) -> ImageRng:
        """The generators of a split's images for a purpose. They do not depend on the arm: all arms draw the same."""
        keys = self.images(split).keys
        return ImageRng.for_images(keys, self.seeds[split], task, purpose, device=device or self.device)

    def _observation(self, task: str, split: Split) -> Observation:
        x_0 = self.images(split).x_0.cpu()
        return tasks.task(task).observe(x_0, self.rng(split, task, "observe", "cpu")).to(self.device)

    def width(self, architecture: str) -> int | None:
        """The width that an architecture is built with: None, its published one, or for ``name:matched`` the one that
        has as many parameters as the first architecture of the axes."""
        return dip.width_for(architecture, self.dataset.size, self.axes.architectures[0])

    def stored_fit(self, task: str, architecture: str, split: Split = "test", run: Execute = direct) -> StoredFit:
        """The DIP fit of an architecture to a split's observations, with the memory it took.

        Only a stopping rule that declares that it leaks is shown the photographs, and only on the test split.
        """
        if (task, architecture, split) not in self._fits:
            self._fits[task, architecture, split] = self._stored_fit(task, architecture, split, run)
        return self._fits[task, architecture, split]

    def _stored_fit(self, task: str, architecture: str, split: Split, run: Execute) -> StoredFit:
        rules = [rule for rule in stopping_rules().values() if split == "test" or rule.leak == "none"]
        return stored_fit(
            self.memo,
            dip.architecture_class(architecture),
            self.observation(task, split),
            self.rng(split, task, "dip").seeds,
            iterations=[0, *self.axes.iterations_for(task, architecture)],
            size=self.dataset.size,
            width=self.width(architecture),
            rules=rules,
            x_0=self.images(split).x_0,
            clock=self.clock,
            run=run,
        )

    def fit(self, task: str, architecture: str, split: Split = "test") -> DipFit:
        """The DIP fit of an architecture to a split's observations."""
        return self.stored_fit(task, architecture, split).fit

    def evidence(
        self, arm: Arm, task: str, split: Split = "test", denoiser: Denoiser | None = None
    ) -> Evidence:  # fmt: skip
        """What the prior of an arm is made from: of all there is, what it declares that it needs."""
        fitted = None
        if arm.prior.uses_dip:
            fitted = self.fit(task, arm.architecture, split).mu(arm.iterations, arm.output, arm.rule)
        everything = Evidence(self.observation(task, split), fitted, self.images(split).x_0, denoiser)
        return everything.shown_to(arm.prior)
