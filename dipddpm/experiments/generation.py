"""The generation experiment: populations of images, from noise and from priors made of training photographs.

After the prior every arm takes the same code path, as in restoration, but no data consistency holds a sample to the
photograph that its prior came from. The metrics of a population judge the samples against a reference that no prior
saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dipddpm import dip, generate, tasks
from dipddpm.batches import ChargedClock
from dipddpm.data import Dataset, Split, last_in_turns, to_float, to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.population_cells import prior_images, sample_population
from dipddpm.fitting import DipFit, StoredFit, stored_fit
from dipddpm.generate import GeneratedImages
from dipddpm.injection.start import Start
from dipddpm.memo import Execute, Memo, direct
from dipddpm.priors import COMPARATOR, Evidence
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.tasks.reconstruction import Reconstruction

TASK = Reconstruction.name  # y is the training photograph itself, A the identity


@dataclass(frozen=True)
class Population:
    """Images of one arm and setting; quality and cost are of the same execution.

    Attributes:
        images: (N, 3, H, W) uint8; image i comes from the prior of photograph i.
        seconds: wall-clock per image by stage ("dip", "diffusion"); memory: peak bytes added by stage.
        iterations: DIP iterations per image; nfe: network evaluations per image, as counted.
        setting: how it was sampled.
    """

    images: Tensor
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    iterations: int
    nfe: int
    setting: Setting


class Generation:
    """Populations of ``count`` images of one data set, denoiser and seed.

    A prior is an image: it is rounded to 8 bits, as if it had been read from an image file.

    Training images may be cut from larger photographs. Priors are made of images from as few photographs as possible,
    so that the images of the other photographs can serve as a reference.

    Args:
        memo: finds or computes and stores.
        count: images per population, and training images that priors are made of, at least 2; None for all there are.
            A larger count extends a smaller one and reuses its stored fits, as long as it needs no further photograph.
        iterations: DIP durations that are kept of each fit.
        architecture: the one whose number of parameters a ``name:matched`` gets.
        seed: from which the fits and the samples draw.
        batch: images fitted, and sampled, together. Fits are stored by batch, and ``shuffled`` pairs images within one.
        clock: seconds; should wait for the device.

    Raises:
        InputError: the training split holds fewer photographs, or they are of another size than the denoiser's.
    """

    def __init__(
        self,
        dataset: Dataset,
        denoiser: Denoiser,
        memo: Memo,
        *,
        count: int | None = None,
        iterations: Sequence[int] = (),
        architecture: str = "skip",
        seed: int = 0,
        batch: int = 64,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
    ):
        count = len(dataset.images("train")) if count is None else count
        if dataset.size != denoiser.size:
            raise InputError(f"photographs of {dataset.size} px for a denoiser of {denoiser.size} px")
        if count < 2:
            raise InputError(f"a population is of at least 2 images, got {count}")
        self.dataset, self.denoiser, self.memo, self.count = dataset, denoiser, memo, count
        self.architecture = architecture
        self.iterations = tuple(sorted({0, *iterations}))
        self.seed, self.batch, self.device, self.clock = seed, batch, torch.device(device), ChargedClock(clock)
        self._of_priors, self._others = dataset.divided("train", count)
        self.images = cache(self._images)
        self.stored_fit = lru_cache(maxsize=8)(
            self._stored_fit
        )  # a large population has more fits than fit into memory
        self.keys = tuple(image_keys(self.images("train")))

    def _images(self, split: Split) -> Tensor:
        """(count, 3, H, W) uint8: for ``train`` the images that priors are made of, for another split a sample."""
        if split == "train":
            return self.dataset.images("train")[self._of_priors]
        return self.dataset.sample(split, self.count)

    def reference(self, count: int | None = None) -> Tensor:
        """(count, 3, H, W) uint8, training images of photographs that no prior was made of; all of them by default.

        Where every image is a photograph of its own, the reference is the same for every size of population.

        Raises:
            InputError: there are fewer than ``count``.
        """
        return self.dataset.images("train")[self._reference(count)]

    def photographs(self, count: int | None = None) -> tuple[list[str], list[str]]:
        """The photographs that the images of priors were cut from, and those of :meth:`reference`; no name is in both.

        Raises:
            InputError: as in :meth:`reference`.
        """
        names = self.dataset.photographs("train")
        return [names[i] for i in self._of_priors], [names[i] for i in self._reference(count)]

    def _reference(self, count: int | None) -> list[int]:
        others, names = self._others, self.dataset.photographs("train")
        count = len(others) if count is None else count
        if not others or count > len(others):
            used = len({names[i] for i in self._of_priors})
            raise InputError(
                f"data set {self.dataset.label!r}: no reference of {count or 'any'} images; the {self.count} images "
                f"that priors are made of are of {used} of its {len(set(names))} training photographs, and the others, "
                f"which no prior saw, have {len(others)} images"
            )
        return last_in_turns(others, names, count)

    # Priors

    def _chunks(self) -> Iterator[range]:
        """Photographs that are fitted together; never a single one, which ``shuffled`` could not pair with another."""
        starts = list(range(0, self.count, self.batch))
        if len(starts) > 1 and self.count - starts[-1] == 1:
            del starts[-1]
        for start, stop in zip(starts, [*starts[1:], self.count], strict=True):
            yield range(start, stop)

    def _evidence(self, chunk: range, arm: Arm) -> Evidence:
        x_0 = to_float(self.images("train")[chunk.start : chunk.stop])
        rng = ImageRng.for_images(self.keys[chunk.start : chunk.stop], self.seed, TASK, "observe")
        observation = tasks.task(TASK).observe(x_0, rng).to(self.device)
        fitted = None
        if arm.prior.uses_dip:
            mu = self._fit(arm, chunk).mu(arm.iterations, arm.output)
            fitted = to_float(to_uint8(mu)).to(self.device)
        return Evidence(observation, fitted, x_0.to(self.device) if arm.prior.leak != "none" else None)

    def _fit(self, arm: Arm, chunk: range) -> DipFit:
        """The fit that an arm takes its prior from.

        Raises:
            InputError: it asks for a duration that is not kept.
        """
        if arm.stopping or arm.iterations not in self.iterations:
            raise InputError(f"{arm.label}: fits are kept at {', '.join(map(str, self.iterations))} iterations")
        return self.stored_fit(arm.architecture, chunk).fit

    def _stored_fit(self, architecture: str, chunk: range) -> StoredFit:
        """The DIP fit of an architecture to a chunk of photographs, with the memory it took."""
        keys, size = self.keys[chunk.start : chunk.stop], self.denoiser.size
        return stored_fit(
            self.memo,
            dip.architecture_class(architecture),
            self._evidence(chunk, Arm.named(COMPARATOR)).observation,
            ImageRng.for_images(keys, self.seed, TASK, "dip").seeds,
            iterations=self.iterations,
            size=size,
            width=dip.width_for(architecture, size, self.architecture),
            clock=self.clock,
        )

    def mu(self, arm: Arm, indices: range | None = None) -> Tensor | None:
        """(n, 3, H, W) uint8, the priors of an arm for a range of images, by default all; None for the start from
        noise.

        A longer range repeats the priors: image i starts from the prior of photograph i modulo ``count``.

        Raises:
            InputError: the prior cannot be made from a complete and noiseless photograph.
        """
        if not arm.injection.uses_mu:
            return None
        return self._mu(arm, range(self.count) if indices is None else indices)

    def _mu(self, arm: Arm, indices: range) -> Tensor:
        wanted, made = {i % self.count for i in indices}, dict[int, Tensor]()
        for chunk in self._chunks():
            if not wanted.isdisjoint(chunk):
                made |= dict(zip(chunk, prior_images(arm.prior, self._evidence(chunk, arm)), strict=True))
        return torch.stack([made[i % self.count] for i in indices])

    # Populations

    def setting(self, arm: Arm, nfe: int, t0: int | None = None, sampler: str = "ddim", eta: float = 0.0) -> Setting:
        """How an arm is sampled; ``t0`` is left out where its injection enters at T."""
        entry = Start() if nfe == 0 else arm.injection
        return Setting(nfe, entry, None if entry.starts_at_T else t0, sampler, eta, held=False)

    def sample(
        self, arm: Arm, setting: Setting, *, draw: int = 0, count: int | None = None, run: Execute = direct
    ) -> Population:
        """The population of an arm; with 0 evaluations its priors are the population.

        Args:
            draw: number of the sample of each prior; every draw has noise of its own.
            count: sample only the first ``count`` images; None for all.
            run: calls the sampling once, if its result is not stored.

        Raises:
            InputError: the denoiser's schedule has too few steps for the setting; raised before a DIP is fitted.
        """
        setting.check(self.denoiser.schedule)
        count = self.count if count is None else count
        chunks = [chunk for chunk in self._chunks() if chunk.start < count]
        found = self.memo(
            sample_population,
            {
                "denoiser": self.denoiser, "prior": arm.prior, "setting": setting, "count": count, "batch": self.batch,
                "evidence": [self._evidence(chunk, arm) for chunk in chunks] if arm.injection.uses_mu else [],
                "seed": seed_for(self.seed, draw) if draw else self.seed, "device": self.device,
            },
            aside={"clock": self.clock},
            run=run,
        )  # fmt: skip
        value = found.value
        seconds, memory = {"diffusion": value["seconds"] / count}, {"diffusion": found.memory}
        if arm.prior.uses_dip:
            fits = [self.stored_fit(arm.architecture, chunk) for chunk in chunks]
            seconds["dip"] = sum(stored.fit.seconds_for(arm.iterations) for stored in fits) / chunks[-1].stop
            memory["dip"] = max(stored.memory for stored in fits)
        return Population(value["images"].cpu(), seconds, memory, arm.iterations, value["nfe"], setting)

    def stream(
        self, arm: Arm, setting: Setting, folder: Path, count: int, *, batch: int = 64, worker: tuple[int, int] = (0, 1)
    ) -> GeneratedImages:
        """Write any number of images of an arm into a folder, by :func:`dipddpm.generate.generate`.

        Raises:
            InputError: as in that function.
        """
        prior = f"{arm.label} of {self.count} of {self.dataset.label}, {seed_for(self.seed, *self.keys):x}"
        starts = arm.injection.uses_mu
        return generate.generate(
            self.denoiser, count, folder, setting,
            mu=(lambda indices: to_float(self._mu(arm, indices))) if starts else None, prior=prior if starts else "",
            seed=self.seed, batch=batch, worker=worker, device=self.device, clock=self.clock,
        )  # fmt: skip
