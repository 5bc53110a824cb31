"""The experiment: which fits, tunings and cells there are, and how one follows from another.

Each is asked for by what it is and computed at most once: ``memo`` finds it by its content if it was computed before,
in this session or any earlier one. Nothing here knows how results are timed, stored or printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from dipddpm import dip, fitting, injection, metrics, priors, restore, sampling, tasks, tuning
from dipddpm.arms import Arm, arms, budgets, tuned_as
from dipddpm.data import Dataset, to_float
from dipddpm.denoisers import Denoiser
from dipddpm.fitting import DipFit, fit_dip
from dipddpm.priors import Evidence
from dipddpm.profiles import Profile
from dipddpm.rng import ImageRng, image_keys
from dipddpm.tasks import Observation
from dipddpm.tuning import Tuned, candidates, tune

Run = Callable[[Callable[[], None]], object]
DIP_OUTPUT = "last"


class Entry(Protocol):
    """What ``memo`` gives back."""

    info: Mapping
    tensors: Mapping[str, Tensor]
    seconds: float
    memory: int
    fresh: bool


class Memo(Protocol):
    """``memo(kind, config, sources, compute, run)``: the stored entry, or ``run`` of ``compute``, stored."""

    def __call__(
        self,
        kind: str,
        config: Mapping[str, object],
        sources: Sequence[object],
        compute: Callable[[], tuple[Mapping[str, object], Mapping[str, Tensor]]],
        run: Run = ...,
    ) -> Entry: ...


@dataclass(frozen=True)
class Images:
    """Photographs of a split: x_0 (N, 3, H, W) in [-1, 1] and the key that each owns its seeds by."""

    x_0: Tensor
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One arm at one budget: quality and cost of the same execution.

    Attributes:
        scores: {metric: one value an image}.
        seconds: wall-clock an image by stage ("dip", "diffusion").
        nfe: network evaluations an image that happened.
        setting: how the diffusion was run; validation: its mean PSNR on the validation images, None for a prior alone.
        best_budget: of all budgets that the arm runs at, this one was best on the validation images.
        fresh: computed just now.
    """

    scores: Mapping[str, list[float]]
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    nfe: int
    setting: restore.Setting
    validation: float | None
    best_budget: bool
    fresh: bool


def _direct(work: Callable[[], None]) -> None:
    work()


class Experiment:
    """The restoration experiment of one profile on one data set with one denoiser.

    Args:
        memo: finds or computes and stores.
        clock: seconds; should wait for the device.
        progress: told in words what is being computed.
    """

    def __init__(
        self,
        profile: Profile,
        dataset: Dataset,
        denoiser: Denoiser,
        memo: Memo,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
        progress: Callable[[str], object] = lambda text: None,
    ):
        self.profile, self.dataset, self.denoiser, self.memo = profile, dataset, denoiser, memo
        self.seed, self.device, self.clock, self.progress = seed, torch.device(device), clock, progress
        self.images = cache(self._images)
        self.observation = cache(self._observation)
        self.fit = cache(self._fit)
        self.tuned = cache(self._tuned)
        self._warm = cache(self._warm_up)

    def _images(self, split: str) -> Images:
        count = self.profile.images if split == "test" else self.profile.validation_images
        pixels = self.dataset.sample(split, count)  # type: ignore[arg-type]
        return Images(to_float(pixels).to(self.device), tuple(image_keys(pixels)))

    def rng(self, split: str, task: str, purpose: str) -> ImageRng:
        """The generators of a split's images for a purpose. The arm has no say: all arms draw the same."""
        return ImageRng.for_images(self.images(split).keys, self.seed, task, purpose, device=self.device)

    def _observation(self, task: str, split: str) -> Observation:
        rng = ImageRng.for_images(self.images(split).keys, self.seed, task, "observe")
        return tasks.task(task).observe(self.images(split).x_0.cpu(), rng).to(self.device)

    def durations(self, split: str) -> list[int]:
        """Iterations at which a fit is snapshot."""
        return [0, *self.profile.iterations]

    def _base(self, task: str, split: str) -> dict:
        """What decides every result: images, seeds, task."""
        return {"images": self.images(split).keys, "size": self.denoiser.size, "seed": self.seed, "task": task}

    def _fit_config(self, task: str, architecture: str, split: str) -> dict:
        return self._base(task, split) | {"architecture": architecture, "iterations": self.durations(split)}

    def fit_entry(self, task: str, architecture: str, split: str = "test", run: Run = _direct) -> Entry:
        """The DIP fit of an architecture to a split's observations, with the time and memory it took."""

        def compute() -> tuple[dict, dict]:
            fit = fit_dip(
                dip.architecture(architecture),
                self.observation(task, split),
                self.rng(split, task, "dip"),
                iterations=self.durations(split),
                size=self.denoiser.size,
                clock=self.clock,
            )
            arrays = {"last": fit.last, "ema": fit.ema, "loss": fit.loss}
            return {"iterations": fit.iterations, "seconds": fit.seconds, "parameters": fit.parameters}, arrays

        sources = [fitting, dip.architecture(architecture), type(tasks.task(task))]
        self.progress(f"DIP {architecture} on {task}, {split} images")
        return self.memo("fits", self._fit_config(task, architecture, split), sources, compute, run)

    def _fit(self, task: str, architecture: str, split: str = "test") -> DipFit:
        entry = self.fit_entry(task, architecture, split)
        info = dict(entry.info)
        return DipFit(tuple(info["iterations"]), **entry.tensors, seconds=tuple(info["seconds"]),
                      parameters=info["parameters"])  # fmt: skip

    def mu(self, arm: Arm, task: str, split: str = "test") -> Tensor | None:
        """The prior image of an arm. Only a prior that declares ``clean-target`` is shown the photographs."""
        prior = priors.prior(arm.prior)
        fitted = self.fit(task, arm.architecture, split).mu(arm.iterations, DIP_OUTPUT) if arm.uses_dip else None
        x_0 = self.images(split).x_0 if prior.leak == "clean-target" else None
        return prior.mu(Evidence(self.observation(task, split), fitted, x_0))

    def _tuned(self, arm: Arm, task: str, budget: int) -> Tuned:
        """The setting that an arm runs with at a budget, chosen on validation images."""
        arm = tuned_as(arm, self.profile)
        p, way = self.profile, priors.priors()[arm.prior].injection
        etas, travels = (p.noise_etas, p.noise_travels) if way == "none" else (p.etas, p.travels)
        t0s: Sequence[int] = p.t0s
        if budget > p.budgets[-1] and way != "none":
            t0s = [self.tuned(arm, task, p.budgets[-1]).setting.t0 or 0]  # long runs are dear to tune
        settings = candidates(budget, way, t0s, etas, travels)

        def compute() -> tuple[dict, dict]:
            self._warm("validation")
            seeds = self.rng("validation", task, "sample").seeds
            best = tune(self.denoiser, self.observation(task, "validation"), self.images("validation").x_0,
                        self.mu(arm, task, "validation"), settings, seeds)  # fmt: skip
            return {"setting": asdict(best.setting), "validation": best.validation}, {}

        fit = self._fit_config(task, arm.architecture, "validation") if arm.architecture else None
        config = self._base(task, "validation") | {
            "arm": asdict(arm), "fit": fit, "denoiser": self.denoiser.fingerprint, "output": DIP_OUTPUT,
            "settings": [asdict(setting) for setting in settings],
        }  # fmt: skip
        self.progress(f"tuning {arm.label} on {task} at {budget} NFE")
        found = self.memo("tunings", config, [*self._sources(arm, task, way), tuning], compute)
        return Tuned(restore.Setting(**found.info["setting"]), found.info["validation"])

    def _sources(self, arm: Arm, task: str, way: str) -> list[object]:
        """The code that decides a cell, variants by name."""
        network = [fitting, dip.architecture(arm.architecture)] if arm.architecture else []
        variants = [priors.priors()[arm.prior], injection.injections()[way], type(tasks.task(task))]
        return [restore, sampling, type(self.denoiser), *metrics.metrics().values(), *variants, *network]

    def best_budget(self, arm: Arm, task: str) -> int:
        """The budget, of those the arm runs at, at which it did best on the validation images."""
        tried = [budget for budget in budgets(arm, self.profile) if budget]
        return max(tried, key=lambda budget: self.tuned(arm, task, budget).validation)

    def cell(self, task: str, arm: Arm, budget: int, run: Run = _direct) -> Cell:
        """Run one arm at one budget on the test images and score it."""
        setting, validation = restore.Setting(0), None
        if budget or not arm.uses_dip:  # a DIP alone has nothing to tune; its validation fit is not worth its seconds
            tuned = self.tuned(arm, task, budget)
            setting, validation = tuned.setting, tuned.validation
        mu, x_0, observation = self.mu(arm, task), self.images("test").x_0, self.observation(task, "test")

        def compute() -> tuple[dict, dict]:
            rng = self.rng("test", task, "sample")
            started = self.clock()
            x_hat, nfe = restore.restore(self.denoiser, observation, mu, setting, rng)
            seconds = self.clock() - started
            return {"scores": restore.score(x_hat, x_0), "nfe": nfe, "seconds": seconds}, {"x_hat": x_hat}

        fit = self._fit_config(task, arm.architecture, "test") if arm.architecture else None
        config = self._base(task, "test") | {
            "arm": asdict(arm), "fit": fit, "setting": asdict(setting), "output": DIP_OUTPUT,
            "denoiser": self.denoiser.fingerprint if budget else None,
        }  # fmt: skip
        self._warm("test")
        entry = self.memo("cells", config, self._sources(arm, task, setting.injection), compute, run)
        n = len(x_0)
        seconds, memory = {}, {}
        if arm.uses_dip:
            fitted = self.fit_entry(task, arm.architecture)
            seconds["dip"] = self.fit(task, arm.architecture).seconds_at(arm.iterations) / n
            memory["dip"] = fitted.memory
        seconds["diffusion"], memory["diffusion"] = entry.info["seconds"] / n, entry.memory
        return Cell(
            entry.info["scores"], seconds, memory, entry.info["nfe"], setting, validation,
            bool(budget) and budget == self.best_budget(arm, task), entry.fresh,
        )  # fmt: skip

    def cells(self) -> list[tuple[Arm, int]]:
        """Every arm at every budget that it runs at; each task runs them all."""
        return [(arm, budget) for arm in arms(self.profile) for budget in budgets(arm, self.profile)]

    def _warm_up(self, split: str) -> None:
        """One unmeasured evaluation at the shape of a split, so that the first timed cell does not pay for start-up."""
        self.denoiser.eps(torch.zeros_like(self.images(split).x_0), 0)
