"""The generation experiment: populations of images, from noise and from priors made of training photographs.

Past the prior there is one code path for every arm, as in restoration; only that nothing holds a sample to the
photograph its prior came from. What the samples are worth is for the metrics of a population to say, against a
reference that no prior saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dipddpm import dip, generate, injection, priors, restore, sampling, tasks
from dipddpm.batches import ChargedClock
from dipddpm.data import Dataset, Split, to_float, to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.fits import recipe
from dipddpm.experiments.profiles import Profile
from dipddpm.fitting import batches as fitting_batches
from dipddpm.fitting.batches import fit_in_batches
from dipddpm.generate import GeneratedImages
from dipddpm.memo import Entry, Memo, Run, direct
from dipddpm.priors import Evidence
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, image_keys, seed_for

TASK = "reconstruction"  # y is the training photograph itself, A the identity


@dataclass(frozen=True)
class Population:
    """Images of one arm and setting; quality and cost are of the same execution.

    Attributes:
        images: (N, 3, H, W) uint8; image i comes from the prior of photograph i.
        seconds: wall-clock an image by stage ("dip", "diffusion"); memory: peak bytes added by stage.
        iterations: DIP iterations an image; nfe: network evaluations an image that happened.
        setting: how it was sampled.
    """

    images: Tensor
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    iterations: int
    nfe: int
    setting: Setting


def generation_arms(architectures: Sequence[str], iterations: Sequence[int]) -> list[Arm]:
    """Noise, the cheap controls, DIPs fitted to training photographs, and the photographs themselves (``oracle``).

    A control is made of the same photograph as the DIP. ``shuffled`` pairs each noise with another photograph's DIP: as
    a population it differs from ``dip`` by chance alone, which is what a difference has to exceed. What starts from the
    photograph itself leaks: it shows how far a metric rewards giving the training set back.
    """
    first, longest = architectures[0], max(iterations)
    return [
        *(Arm(name) for name in ("noise", "blur", "mean_colour")),
        *(Arm("dip", architecture, duration) for architecture in architectures for duration in iterations),
        Arm("untrained", first),
        Arm("shuffled", first, longest),
        Arm("oracle"),
    ]


def generation_cells(profile: Profile, T: int = 1000) -> list[tuple[Arm, int, int | None]]:
    """(arm, network evaluations, t0) of every population that a profile asks for and ``T`` steps have room for.

    Noise runs at further budgets, which the price of a DIP would buy it. The photographs and the longest DIPs are
    populations themselves (0 evaluations): the floor, and what the diffusion adds to.
    """
    listed: list[tuple[Arm, int, int | None]] = []
    for arm in generation_arms(profile.generation_architectures, profile.generation_iterations):
        if arm.way == "none":
            budgets = (*profile.generation_budgets, *profile.generation_noise_budgets)
            listed += [(arm, n, None) for n in budgets if n <= T]
            continue
        if arm.prior == "oracle" or (arm.prior == "dip" and arm.iterations == max(profile.generation_iterations)):
            listed.append((arm, 0, None))
        t0s = [t0 for t0 in profile.generation_t0s if t0 < T]
        listed += [(arm, n, t0) for t0 in t0s for n in profile.generation_budgets if n <= t0 + 1]
    return listed


class Generation:
    """Populations of ``count`` images of one data set, denoiser and seed.

    A prior is an image: it is rounded to 8 bits, as one that lies in a folder would be.

    Args:
        memo: finds or computes and stores.
        count: images a population, and photographs that priors are made of, at least 2; None for as many as there are.
            A larger count extends a smaller one and finds its fits again.
        iterations: DIP durations that are kept of each fit.
        seed: of the fits and the samples.
        batch: images fitted, and sampled, together. Fits are stored by the batch, and ``shuffled`` stays within it.
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
        seed: int = 0,
        batch: int = 64,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
    ):
        count = len(dataset.load("train")) if count is None else count
        if dataset.size != denoiser.size:
            raise InputError(f"photographs of {dataset.size} px for a denoiser of {denoiser.size} px")
        if count < 2:
            raise InputError(f"a population is of at least 2 images, got {count}")
        self.dataset, self.denoiser, self.memo, self.count = dataset, denoiser, memo, count
        self.iterations = tuple(sorted({0, *iterations}))
        self.seed, self.batch, self.device, self.clock = seed, batch, torch.device(device), ChargedClock(clock)
        self.images = cache(self._images)
        self.keys = tuple(image_keys(self.images("train")))

    def _images(self, split: Split) -> Tensor:
        """(count, 3, H, W) uint8: of ``train`` those that priors are made of, of another split a sample of it."""
        return self.dataset.sample(split, self.count)

    def reference(self, count: int) -> Tensor:
        """(count, 3, H, W) uint8, training photographs that no prior saw: the same ones for every size of population.

        Raises:
            InputError: there are not so many.
        """
        pixels = self.dataset.load("train")
        if self.count + count > len(pixels):
            raise InputError(
                f"data set {self.dataset.label!r}: {self.count} training photographs for priors and {count} for the "
                f"reference asked for, it holds {len(pixels)}"
            )
        return self.dataset.sample("train", len(pixels))[-count:]

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
        if arm.uses_dip:
            outputs = self._fit(arm.architecture, chunk).tensors[arm.output]
            fitted = to_float(outputs[self._duration(arm)]).to(self.device)
        leaks = priors.priors()[arm.prior].leak != "none"
        return Evidence(observation, fitted, x_0.to(self.device) if leaks else None)

    def _duration(self, arm: Arm) -> int:
        if arm.stopping != "fixed" or arm.iterations not in self.iterations:
            raise InputError(f"{arm.label}: fits are kept at {', '.join(map(str, self.iterations))} iterations")
        return self.iterations.index(arm.iterations)

    def _fit(self, architecture: str, chunk: range) -> Entry:
        network, keys = dip.architecture(architecture), self.keys[chunk.start : chunk.stop]
        width = dip.width_for(architecture, self.denoiser.size, "skip")
        config = {
            "images": keys, "size": self.denoiser.size, "seed": self.seed, "task": TASK, "architecture": architecture,
            "width": width, "iterations": self.iterations, "recipe": recipe(Generation),
        }  # fmt: skip

        def compute() -> tuple[dict, dict]:
            fit = fit_in_batches(
                network,
                self._evidence(chunk, Arm("noise")).observation,
                ImageRng.for_images(keys, self.seed, TASK, "dip", device=self.device),
                iterations=self.iterations,
                size=self.denoiser.size,
                width=width,
                clock=self.clock,
            )
            return {"seconds": fit.seconds}, {"last": to_uint8(fit.last), "ema": to_uint8(fit.ema)}

        return self.memo("generation fits", config, [fitting_batches, network, type(tasks.task(TASK))], compute)

    def mu(self, arm: Arm, indices: range | None = None) -> Tensor | None:
        """The priors of an arm for a range of images, all by default, (n, 3, H, W) uint8; None from noise.

        Past the last photograph the priors begin again: image i starts from that of photograph i modulo ``count``.

        Raises:
            InputError: a prior that makes nothing of a whole and noiseless photograph.
        """
        return None if arm.way == "none" else self._mu(arm, range(self.count) if indices is None else indices)

    def _mu(self, arm: Arm, indices: range) -> Tensor:
        prior, wanted, made = priors.prior(arm.prior), {i % self.count for i in indices}, dict[int, Tensor]()
        for chunk in self._chunks():
            if wanted.isdisjoint(chunk):
                continue
            evidence = self._evidence(chunk, arm)
            mu = prior.mu(evidence) if prior.applies(evidence.observation) else None
            if mu is None:
                raise InputError(f"the prior {arm.prior!r} makes nothing of a whole photograph")
            made |= dict(zip(chunk, to_uint8(mu).cpu(), strict=True))
        return torch.stack([made[i % self.count] for i in indices])

    # Populations

    def setting(self, arm: Arm, nfe: int, t0: int | None = None, sampler: str = "ddim", eta: float = 0.0) -> Setting:
        """How an arm is sampled; ``t0`` is left out where its injection enters at T."""
        way = "start" if nfe == 0 else arm.way
        return Setting(nfe, way, None if way in ("none", "raw") else t0, sampler, eta, held=False)

    def sample(
        self, arm: Arm, setting: Setting, *, draw: int = 0, count: int | None = None, run: Run = direct
    ) -> Population:
        """The population of an arm; with 0 evaluations its priors are the population.

        Args:
            draw: which sample of each prior; the noise of another draw is other noise.
            count: the first so many images; None for all.
            run: calls the sampling, once, if it is not found.

        Raises:
            InputError: a setting that the denoiser's schedule has no room for, said before a DIP is fitted.
        """
        setting.check(self.denoiser.schedule)
        count = self.count if count is None else count
        mu = self.mu(arm, range(count))
        seed = seed_for(self.seed, draw) if draw else self.seed

        def compute() -> tuple[dict, dict]:
            self.denoiser.eps(to_float(self.images("train")[:2]).to(self.device), 0)  # its start-up is not measured
            started, parts, nfe = self.clock(), [], 0
            for start in range(0, count, self.batch):
                indices = range(start, min(start + self.batch, count))
                given = None if mu is None else to_float(mu[indices.start : indices.stop])
                images, nfe = generate.sample_images(self.denoiser, indices, setting, given, seed, self.device)
                parts.append(images)
            return {"seconds": self.clock() - started, "nfe": nfe}, {"images": torch.cat(parts)}

        config = {
            "mu": None if mu is None else image_keys(mu), "count": count, "setting": asdict(setting), "seed": seed,
            "size": self.denoiser.size, "denoiser": self.denoiser.fingerprint, "recipe": recipe(Generation),
        }  # fmt: skip
        sources = [generate, restore, sampling, injection.injections()[setting.injection], type(self.denoiser)]
        entry = self.memo("populations", config, sources, compute, run)
        seconds, memory = {"diffusion": entry.info["seconds"] / count}, {"diffusion": entry.memory}
        if arm.uses_dip:
            chunks = [chunk for chunk in self._chunks() if chunk.start < count]
            fits = [self._fit(arm.architecture, chunk) for chunk in chunks]
            seconds["dip"] = sum(fit.info["seconds"][self._duration(arm)] for fit in fits) / chunks[-1].stop
            memory["dip"] = max(fit.memory for fit in fits)
        return Population(entry.tensors["images"].cpu(), seconds, memory, arm.iterations, entry.info["nfe"], setting)

    def stream(
        self, arm: Arm, setting: Setting, folder: Path, count: int, *, batch: int = 64, worker: tuple[int, int] = (0, 1)
    ) -> GeneratedImages:
        """The population of an arm into a folder, any number of images long, by :func:`dipddpm.generate.generate`.

        Raises:
            InputError: as there.
        """
        prior = f"{arm.label} of {self.count} of {self.dataset.label}, {seed_for(self.seed, *self.keys):x}"
        starts = arm.way != "none"
        return generate.generate(
            self.denoiser, count, folder, setting,
            mu=(lambda indices: to_float(self._mu(arm, indices))) if starts else None, prior=prior if starts else "",
            seed=self.seed, batch=batch, worker=worker, device=self.device, clock=self.clock,
        )  # fmt: skip
