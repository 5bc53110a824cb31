"""The experiment: which tunings and cells there are, and how one follows from another; each is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import torch
from torch import Tensor

from dipddpm import dip, injection, metrics, priors, restore, sampling, tasks
from dipddpm.batches import in_batches
from dipddpm.data import Split
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments import tuning
from dipddpm.experiments.arms import Arm, arms, budgets, tuned_as
from dipddpm.experiments.fits import Fits, recipe
from dipddpm.experiments.tuning import Hold, Tuned, candidates, draw_trials, tune
from dipddpm.fitting import batches as fitting_batches
from dipddpm.memo import Run, direct
from dipddpm.stopping import stopping_rules


@dataclass(frozen=True)
class Cell:
    """One arm at one budget: quality and cost of the same execution.

    Attributes:
        scores: {metric: one value an image}.
        x_hat: (N, 3, H, W) in [-1, 1].
        seconds: wall-clock an image by stage ("dip", "diffusion"); memory: peak bytes added by stage.
        iterations: DIP iterations an image that were paid for; nfe: network evaluations an image that happened.
        setting: how the diffusion was run; validation: its mean PSNR on the validation images, None for what leaks.
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


class Experiment(Fits):
    """The restoration experiment of one profile on one data set with one denoiser and one seed."""

    # The caches live as long as the session, and so does an experiment.

    @cache  # noqa: B019
    def with_denoiser(self, denoiser: Denoiser) -> Experiment:
        """The same experiment with another denoiser; the DIP fits, which know nothing of it, are found again."""
        return Experiment(
            self.profile, self.dataset, denoiser, self.memo,
            seed=self.seed, tuning_seed=self.seeds["validation"], device=self.device, clock=self.clock,
        )  # fmt: skip

    # Arms and their settings

    @cache  # noqa: B019
    def cells(self, task: str) -> tuple[tuple[Arm, int], ...]:
        """Every arm that makes sense for a task, at every budget that it runs at."""
        observation = self.observation(task, "test")
        able = [arm for arm in arms(self.profile, task) if priors.prior(arm.prior).applies(observation)]
        return tuple((arm, budget) for arm in able for budget in self.budgets(arm, task))

    def budgets(self, arm: Arm, task: str) -> list[int]:
        """The budgets that an arm runs at; of those, the ones that fit below a step it can enter at."""
        listed = budgets(arm, self.profile, task)
        return [at for at in listed if self.settings(tuned_as(arm, self.profile, task, at), task, at)]

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

    def tuned(self, arm: Arm, task: str, budget: int) -> Tuned:
        """The setting that an arm runs with at a budget, chosen on validation images."""
        arm = tuned_as(arm, self.profile, task, budget)
        return self._tuned(self._alike(arm, task, budget), task, budget)[arm]

    def _alike(self, arm: Arm, task: str, budget: int) -> tuple[Arm, ...]:
        """The tuned arms that share this one's DIP, or have none like it, and have the same settings to try."""
        beside = [tuned_as(other, self.profile, task, budget) for other, at in self.cells(task) if at == budget]
        settings = self.settings(arm, task, budget)
        alike = [
            other
            for other in beside
            if other.architecture == arm.architecture
            and other.leak == "none"
            and self.settings(other, task, budget) == settings
        ]
        return tuple(dict.fromkeys([*alike, arm]))

    @cache  # noqa: B019
    def _tuned(self, alike: Sequence[Arm], task: str, budget: int) -> Mapping[Arm, Tuned]:
        """Arms that have the same settings to try, tuned as one batch."""
        settings = self.settings(alike[0], task, budget)

        def compute() -> tuple[dict, dict]:
            self._warm_up("validation", len(alike))
            mus = [self.mu(arm, task, "validation") for arm in alike]
            seeds, x_0 = self.rng("validation", task, "sample").seeds, self.images("validation").x_0
            best = tune(self.denoiser, self.observation(task, "validation"), x_0, mus, settings, seeds)
            return {"settings": [asdict(b.setting) for b in best], "validation": [b.validation for b in best]}, {}

        config = self._cell_config(alike, task, "validation") | {"settings": [asdict(setting) for setting in settings]}
        sources = [source for arm in alike for source in self._sources(arm, task)]
        info = self.memo("tunings", config, [*sources, tuning], compute).info
        found = zip(info["settings"], info["validation"], strict=True)
        return {arm: Tuned(restore.Setting(**s), v) for arm, (s, v) in zip(alike, found, strict=True)}

    def _cell_config(self, arms: Sequence[Arm], task: str, split: Split) -> dict:
        """What decides the results of arms that share their DIP fit, if they have one."""
        architecture = arms[0].architecture
        fit = self._fit_config(task, architecture, split) if architecture else None
        given = {"arms": [asdict(arm) for arm in arms], "fit": fit, "denoiser": self.denoiser.fingerprint}
        return self._base(task, split) | given | {"recipe": recipe(Experiment)}

    def _sources(self, arm: Arm, task: str) -> list[object]:
        """The code that decides a cell, variants by name."""
        network = [fitting_batches, dip.architecture(arm.architecture)] if arm.architecture else []
        variants = [priors.priors()[arm.prior], injection.injections()[arm.way], type(tasks.task(task))]
        rules = [stopping_rules()[arm.stopping]] if arm.stopping != "fixed" else []
        return [restore, sampling, type(self.denoiser), *metrics.metrics().values(), *variants, *network, *rules]

    def best_budget(self, arm: Arm, task: str, largest: int | None = None) -> int:
        """The budget, of those the arm runs at (up to ``largest``), at which it did best on the validation images."""
        tried = [budget for budget in self.budgets(arm, task) if 0 < budget <= (largest or budget)]
        if not tried:
            raise InputError(
                f"{arm.label} runs at no budget of {self.profile.budgets} on {task}: each needs a step to enter at, of "
                f"{self.profile.t0s}, that is as large"
            )
        return max(tried, key=lambda budget: self.tuned(arm, task, budget).validation)

    # Cells

    def cell(self, task: str, arm: Arm, budget: int, run: Run = direct, largest: int | None = None) -> Cell:
        """Run one arm at one budget on the test images, with the setting tuned for it, and score it.

        Args:
            largest: of the budgets that compete for being ``chosen``, None for all.
        """
        setting, validation = restore.Setting(0), None
        if budget or arm.leak == "none":  # a DIP alone has nothing to tune, but is a rival that is chosen by its score
            tuned = self.tuned(arm, task, budget)
            setting, validation = tuned.setting, tuned.validation
        chosen = budget == 0 or budget == self.best_budget(arm, task, largest)
        return self.cell_with(task, arm, setting, run, validation, chosen)

    def cell_with(
        self,
        task: str,
        arm: Arm,
        setting: restore.Setting,
        run: Run = direct,
        validation: float | None = None,
        chosen: bool = False,
    ) -> Cell:
        """Run one arm on the test images with a setting of the caller's."""
        x_0, observation = self.images("test").x_0, self.observation(task, "test")
        n, fit = len(x_0), self.fit(task, arm.architecture) if arm.uses_dip else None

        def compute() -> tuple[dict, dict]:
            rng = self.rng("test", task, "sample")
            self.mu(arm, task)  # what a first call imports is nobody's cost
            started = self.clock()
            mu = self.mu(arm, task)  # a control's image costs what it costs; a DIP's seconds are those of its fit
            x_hat, nfe = restore.restore(self.denoiser, observation, mu, setting, rng)
            seconds = self.clock() - started
            return {"scores": restore.score(x_hat, x_0), "nfe": nfe, "seconds": seconds}, {"x_hat": x_hat}

        self._warm_up("test")
        config = self._cell_config([arm], task, "test") | {"setting": asdict(setting)}
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

    @cache  # noqa: B019
    def _warm_up(self, split: Split, repeats: int = 1) -> None:
        """One unmeasured evaluation at the shape of a batch, so that the first timed cell does not pay for start-up."""
        x_t = torch.zeros_like(self.images(split).x_0.repeat(repeats, 1, 1, 1))
        in_batches(restore.stage(self.denoiser, x_t.device), len(x_t), lambda some: self.denoiser.eps(x_t[some], 0))
