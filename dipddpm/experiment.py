"""The experiment: which fits, tunings and cells there are, and how one follows from another.

Each is asked for by what it is and computed at most once: ``memo`` finds it by its content if it was computed before,
in this session or any earlier one. Nothing here knows how results are stored or printed.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from dipddpm import dip, fitting, injection, metrics, priors, restore, sampling, tasks, tuning
from dipddpm.arms import Arm, arms, budgets, tuned_as
from dipddpm.data import Dataset, Split, to_float
from dipddpm.denoisers import Denoiser
from dipddpm.fitting import DipFit, fit_dip
from dipddpm.priors import Evidence
from dipddpm.profiles import Profile
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.stopping import StoppingRule, stopping_rule, stopping_rules
from dipddpm.tasks import Observation
from dipddpm.tuning import Hold, Tuned, candidates, draw_trials, tune

Run = Callable[[Callable[[], None]], object]


@cache
def _recipe() -> int:
    """Hash of the code below. It is no source that the memo could name: it imports every variant there is."""
    return seed_for(inspect.getsource(Experiment))


def _direct(work: Callable[[], None]) -> None:
    work()


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
        x_hat: (N, 3, H, W) in [-1, 1].
        seconds: wall-clock an image by stage ("dip", "diffusion"); memory: peak bytes added by stage.
        iterations: DIP iterations an image that were paid for; nfe: network evaluations an image that happened.
        setting: how the diffusion was run; validation: its mean PSNR on the validation images, None for a DIP alone.
        chosen: of all budgets that the arm runs at, this one was best on the validation images.
    """

    scores: Mapping[str, list[float]]
    x_hat: Tensor
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    iterations: float
    nfe: int
    setting: restore.Setting
    validation: float | None
    chosen: bool


class Experiment:
    """The restoration experiment of one profile on one data set with one denoiser and one seed.

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
        self.seed, self.device, self.clock = seed, torch.device(device), clock
        self.images = cache(self._images)
        self.observation = cache(self._observation)
        self.fit = cache(self._fit)
        self.tuned = cache(self._tuned)
        self._warm = cache(self._warm_up)

    @cache  # noqa: B019 (an experiment lives as long as its session)
    def with_denoiser(self, denoiser: Denoiser) -> Experiment:
        """The same experiment with another denoiser; the DIP fits, which know nothing of it, are found again."""
        return Experiment(
            self.profile, self.dataset, denoiser, self.memo,
            seed=self.seed, tuning_seed=self.seeds["validation"], device=self.device, clock=self.clock,
        )  # fmt: skip

    # What is there to be restored

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
        return given | {"task": task, "recipe": _recipe()}

    # Deep Image Priors

    def _fit_config(self, task: str, architecture: str, split: Split) -> dict:
        rules = list(stopping_rules()) if split == "test" else []
        iterations = [0, *self.profile.iterations]
        network = {"architecture": architecture, "width": self.width(architecture)}
        return self._base(task, split) | network | {"iterations": iterations, "rules": rules}

    def width(self, architecture: str) -> int | None:
        """The width that an architecture is built with: None, its published one, or for ``name:matched`` the one that
        has as many parameters as the profile's first architecture."""
        return dip.width_for(architecture, self.denoiser.size, self.profile.architectures[0])

    def fit_entry(self, task: str, architecture: str, split: Split = "test", run: Run = _direct) -> Entry:
        """The DIP fit of an architecture to a split's observations, with the time and memory it took."""
        config, network = self._fit_config(task, architecture, split), dip.architecture(architecture)

        def compute() -> tuple[dict, dict]:
            rules = [stopping_rule(name) for name in config["rules"]]
            fit = fit_dip(
                network,
                self.observation(task, split),
                self.rng(split, task, "dip"),
                iterations=config["iterations"],
                size=self.denoiser.size,
                width=config["width"],
                rules=[self._watching(rule, split) for rule in rules],
                clock=self.clock,
            )
            arrays = {"last": fit.last, "ema": fit.ema, "loss": fit.loss}
            for name, (mu, charged) in fit.stopped.items():
                arrays |= {f"{name} mu": mu, f"{name} charged": charged}
            return {"iterations": fit.iterations, "seconds": fit.seconds, "parameters": fit.parameters}, arrays

        rules = [stopping_rule(name) for name in config["rules"]]
        return self.memo("fits", config, [fitting, network, type(tasks.task(task)), *rules], compute, run)

    def _watching(self, rule: type[StoppingRule], split: Split) -> StoppingRule:
        """A rule for the longest duration. Only one that declares that it leaks is shown the photographs."""
        return rule(self.profile.iterations[-1], self.images(split).x_0 if rule.leak != "none" else None)

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

    # Arms and their settings

    def cells(self, task: str) -> list[tuple[Arm, int]]:
        """Every arm that makes sense for a task, at every budget that it runs at."""
        observation = self.observation(task, "test")
        able = [arm for arm in arms(self.profile, task) if priors.prior(arm.prior).applies(observation)]
        return [(arm, budget) for arm in able for budget in self.budgets(arm, task)]

    def budgets(self, arm: Arm, task: str) -> list[int]:
        """The budgets that an arm runs at; of those, the ones that fit below a step it can enter at."""
        tuned = tuned_as(arm, self.profile)
        return [budget for budget in budgets(arm, self.profile) if self.settings(tuned, task, budget)]

    def settings(self, arm: Arm, task: str, budget: int) -> list[restore.Setting]:
        """The settings that an arm tries at a budget; the number is the same for every arm."""
        p, way, observation = self.profile, injection.injection(arm.way), self.observation(task, "validation")
        holds: list[Hold] = [(1.0, True)]
        if observation.consistency == "proximal":
            # A start carries what it knows of y in its state: it may as well do without y from there on.
            holds = [(strength, True) for strength in p.strengths] + [(1.0, False)] * way.uses_mu
        t0s = way.t0s(self.denoiser.schedule, observation.sigma, p.t0s)
        grid = candidates(budget, arm.way, t0s, p.solvers if way.uses_mu else p.noise_solvers, holds)
        return draw_trials(grid, p.trials, task, budget)

    def _tuned(self, arm: Arm, task: str, budget: int) -> Tuned:
        """The setting that an arm runs with at a budget, chosen on validation images."""
        arm = tuned_as(arm, self.profile)
        settings = self.settings(arm, task, budget)

        def compute() -> tuple[dict, dict]:
            self._warm("validation")
            seeds, x_0 = self.rng("validation", task, "sample").seeds, self.images("validation").x_0
            mu, observation = self.mu(arm, task, "validation"), self.observation(task, "validation")
            best = tune(self.denoiser, observation, x_0, mu, settings, seeds)
            return {"setting": asdict(best.setting), "validation": best.validation}, {}

        config = self._cell_config(arm, task, "validation") | {"settings": [asdict(setting) for setting in settings]}
        found = self.memo("tunings", config, [*self._sources(arm, task), tuning], compute)
        return Tuned(restore.Setting(**found.info["setting"]), found.info["validation"])

    def _cell_config(self, arm: Arm, task: str, split: Split) -> dict:
        fit = self._fit_config(task, arm.architecture, split) if arm.architecture else None
        return self._base(task, split) | {"arm": asdict(arm), "fit": fit, "denoiser": self.denoiser.fingerprint}

    def _sources(self, arm: Arm, task: str) -> list[object]:
        """The code that decides a cell, variants by name."""
        network = [fitting, dip.architecture(arm.architecture)] if arm.architecture else []
        variants = [priors.priors()[arm.prior], injection.injections()[arm.way], type(tasks.task(task))]
        rules = [stopping_rules()[arm.stopping]] if arm.stopping != "fixed" else []
        return [restore, sampling, type(self.denoiser), *metrics.metrics().values(), *variants, *network, *rules]

    def best_budget(self, arm: Arm, task: str) -> int:
        """The budget, of those the arm runs at, at which it did best on the validation images."""
        tried = [budget for budget in self.budgets(arm, task) if budget]
        return max(tried, key=lambda budget: self.tuned(arm, task, budget).validation)

    # Cells

    def cell(self, task: str, arm: Arm, budget: int, run: Run = _direct) -> Cell:
        """Run one arm at one budget on the test images, with the setting tuned for it, and score it."""
        setting, validation = restore.Setting(0), None
        if budget or not arm.uses_dip:  # a DIP alone has nothing to tune
            tuned = self.tuned(arm, task, budget)
            setting, validation = tuned.setting, tuned.validation
        chosen = budget == 0 or budget == self.best_budget(arm, task)
        return self.cell_with(task, arm, setting, run, validation, chosen)

    def cell_with(
        self,
        task: str,
        arm: Arm,
        setting: restore.Setting,
        run: Run = _direct,
        validation: float | None = None,
        chosen: bool = False,
    ) -> Cell:
        """Run one arm on the test images with a setting of the caller's."""
        x_0, observation = self.images("test").x_0, self.observation(task, "test")
        n, fit = len(x_0), self.fit(task, arm.architecture) if arm.uses_dip else None

        def compute() -> tuple[dict, dict]:
            rng = self.rng("test", task, "sample")
            started = self.clock()
            mu = self.mu(arm, task)  # a control's image costs what it costs; a DIP's seconds are those of its fit
            x_hat, nfe = restore.restore(self.denoiser, observation, mu, setting, rng)
            seconds = self.clock() - started
            return {"scores": restore.score(x_hat, x_0), "nfe": nfe, "seconds": seconds}, {"x_hat": x_hat}

        self._warm("test")
        config = self._cell_config(arm, task, "test") | {"setting": asdict(setting)}
        entry = self.memo("cells", config, self._sources(arm, task), compute, run)
        seconds, memory, iterations = {"diffusion": entry.info["seconds"] / n}, {"diffusion": entry.memory}, 0.0
        if fit:
            iterations = fit.charged(arm.iterations, arm.stopping)
            seconds["dip"] = fit.seconds_for(iterations) / n
            memory["dip"] = self.fit_entry(task, arm.architecture).memory
        return Cell(
            entry.info["scores"], entry.tensors["x_hat"], seconds, memory, iterations, entry.info["nfe"], setting,
            validation, chosen,
        )  # fmt: skip

    def _warm_up(self, split: Split) -> None:
        """One unmeasured evaluation at the shape of a split, so that the first timed cell does not pay for start-up."""
        self.denoiser.eps(torch.zeros_like(self.images(split).x_0), 0)
