"""Does a network learn sooner with the prior? The arms of a training comparison after some updates.

Losses are never compared, because the networks of different arms predict different targets. Compared are restorations
at the same number of network evaluations, the x_0 that the networks predict at the same signal-to-noise ratio, and
restorations as a population: PSNR rewards the mean of all images that y allows, and a network in training gives blurred
ones. Two kinds of rows have no training of their own: each prior alone, and the plain network whose sampling starts
from each prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from torch import Tensor

from dipddpm.data import last_in_turns
from dipddpm.experiments.arms import Arm, arms
from dipddpm.experiments.population_cells import score_floor
from dipddpm.experiments.restoration import Cell, Restoration
from dipddpm.experiments.training_arms import PLAIN, TrainingArm
from dipddpm.experiments.training_checks import check_network, judge_restorations
from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.experiments.tuning import candidates, draw_trials
from dipddpm.experiments.update_times import UpdateTimes
from dipddpm.extractors import NamedExtractor
from dipddpm.injection.start import Start
from dipddpm.memo import Execute, direct
from dipddpm.metrics import metrics
from dipddpm.population import population_metrics
from dipddpm.prior_sets import observe
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, image_keys

JUDGED_BY = ("kid", "fd")


@dataclass(frozen=True)
class TrainedQuality:
    """An arm after some updates.

    Attributes:
        scores: {metric: one value per test image} of the restoration at a fixed number of network evaluations.
        x_0: {t: PSNR in dB, one value per test image} of the x_0 that the network predicts at step t; empty for a row
            that trained no network.
        seconds: of the training run so far, by stage: "prior", making the priors of all training images; "training",
            number of updates times the measured time of an update.
        memory: peak bytes added, by stage.
        images_per_second: training speed, from the measured time of an update; None for a row that trained no network.
        test_seconds: per test image, of making its prior and of restoring it.
        setting: how it restores, chosen on the validation images; ``validation`` is its PSNR there in dB.
    """

    scores: Mapping[str, list[float]]
    x_0: Mapping[int, list[float]]
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    images_per_second: float | None
    test_seconds: Mapping[str, float]
    setting: Setting
    validation: float


class TrainingQuality:
    """The quality of the networks of some training runs.

    Args:
        population_reference: largest number of photographs that restorations are compared with as a population.
    """

    def __init__(self, runs: TrainingRuns, population_reference: int, extractor: NamedExtractor | None = None):
        self.runs, self.times, self.population_reference = runs, UpdateTimes(runs), population_reference
        self.extractor = extractor or NamedExtractor(device=runs.device)
        self.reference = cache(self._reference)

    def quality(self, task: str, arm: TrainingArm, updates: int) -> TrainedQuality:
        """Quality and cost of an arm after ``updates``."""
        runs, fits = self.runs, self.runs.fits
        settings, primary = self._settings(task, arm), runs.restoration.axes.judges[0]
        splits = {
            split: {
                "observation": fits.observation(task, split),
                "x_0": fits.images(split).x_0,
                "mu": runs.mu(task, arm, split),
                "seeds": fits.rng(split, task, "sample").seeds,
            }
            for split in ("validation", "test")
        }
        value = runs.memo(
            check_network,
            {
                "denoiser": runs.denoiser(task, arm, updates), "settings": settings,
                "validation": splits["validation"], "test": splits["test"], "keys": fits.images("test").keys,
                "metrics": [kind() for kind in metrics().values() if not kind.perceptual or kind.name == primary],
            },
            aside={"clock": fits.clock},
        ).value  # fmt: skip
        test, n = runs.prior_set(task, arm, "test"), len(runs.images("test"))
        seconds, memory, rate = self._cost(task, arm, updates)
        return TrainedQuality(
            scores=value["scores"],
            x_0={int(t): values for t, values in value["x_0"].items()} if arm.use == "trained" else {},
            seconds=seconds,
            memory=memory,
            images_per_second=rate,
            test_seconds={"dip": test.seconds / n if test else 0.0, "diffusion": value["seconds"] / n},
            setting=settings[value["best"]],
            validation=value["validation"],
        )

    def _settings(self, task: str, arm: TrainingArm) -> list[Setting]:
        """The settings that an arm tries on the validation images: the same number for all arms, except those with
        fewer settings in all."""
        runs, axes = self.runs, self.runs.axes
        if arm.use == "alone":
            return [Setting(0)]
        entry, t0s = arm.injection, [runs.schedule.T - 1]
        if arm.use == "start":
            entry = Start()
            t0s = entry.t0s(runs.schedule, runs.fits.observation(task, "validation").sigma, runs.restoration.axes.t0s)
        return draw_trials(
            candidates(axes.nfe, entry, t0s, axes.solvers), runs.restoration.axes.trials, "training", task
        )

    def _cost(
        self, task: str, arm: TrainingArm, updates: int
    ) -> tuple[Mapping[str, float], Mapping[str, int], float | None]:
        """Seconds by stage, peak memory by stage and images per second of the training that an arm rests on. A prior
        alone has no training; the plain network that starts from a prior has the training of the plain network."""
        runs = self.runs
        if arm.use == "alone":
            return {"prior": 0.0, "training": 0.0}, {}, None
        trained = PLAIN if arm.use == "start" else arm
        made, state = runs.prior_set(task, trained, "train"), runs.trained(task, trained, updates)
        update = self.times.seconds(task)[trained.name]
        seconds = {"prior": state.initial_seconds + (made.seconds if made else 0.0), "training": updates * update}
        memory = {"training": state.memory} | ({"prior": made.memory} if made else {})
        return seconds, memory, runs.axes.batch / update if trained is arm else None

    def population_scores(self, task: str, arm: TrainingArm, updates: int) -> Mapping[str, list]:
        """{title: [value, interval or None, whether higher is better]} of an arm after ``updates``. The population are
        further photographs, not the test images, restored by the arm's averaged weights in the setting tuned for it.
        Empty where populations are not judged (:attr:`not_judged` gives the reason)."""
        runs, seed = self.runs, self.runs.fits.seeds["test"]
        if self.not_judged:
            return {}
        images = runs.images("population")
        return runs.memo(
            judge_restorations,
            {
                "denoiser": runs.denoiser(task, arm, updates),
                "observation": observe(images, task, seed, runs.device),
                "mu": runs.mu(task, arm, "population"),
                "seeds": ImageRng.for_images(image_keys(images), seed, task, "sample").seeds,
                "setting": self.quality(task, arm, updates).setting,
                "batch": runs.axes.prior_batch,
                "reference": self.reference(),
                "split": "train",
                "extractor": self.extractor,
                "metrics": {name: kind for name, kind in population_metrics().items() if name in JUDGED_BY},
            },
        ).value["scores"]

    def population_floor(self) -> Mapping[str, list]:
        """Scores of the photographs themselves and of other real images in sets of the same size, by the same titles.
        In place of an interval they have the smallest and the largest draw."""
        runs = self.runs
        if self.not_judged:
            return {}
        dataset = runs.fits.dataset
        split, restored = runs.positions("population")
        names, others = dataset.photographs(split), dataset.photographs("train")
        return runs.memo(
            score_floor,
            {
                "images": runs.images("population"), "reference": self.reference(), "split": "train",
                "photographs": ([names[i] for i in restored], [others[i] for i in self._unseen()]),
                "extractor": self.extractor, "metrics": population_metrics(), "only": JUDGED_BY,
            },
        ).value["scores"]  # fmt: skip

    @cached_property
    def not_judged(self) -> str:
        """Why restorations are not judged as a population; "" where they are."""
        left, needed = len(self._unseen()), len(self.runs.images("population"))
        if left >= needed:
            return ""
        return (
            f"{needed} restorations need a reference as large of photographs that no network here was trained on, and "
            f"the training photographs of {self.runs.fits.dataset.label} that are left have {left} images"
        )

    def _unseen(self) -> list[int]:
        """Positions of the reference images in the training split, all from photographs that no network here is trained
        on."""
        dataset = self.runs.fits.dataset
        others = dataset.divided("train", len(self.runs.images("train")))[1]
        return last_in_turns(others, dataset.photographs("train"), self.population_reference)

    def _reference(self) -> Tensor:
        """(M, 3, H, W) uint8, the images that restorations are compared with as a population."""
        return self.runs.fits.dataset.images("train")[self._unseen()]

    def started(self, task: str, start: str, updates: int, run: Execute = direct) -> tuple[Arm, Cell]:
        """Restore with the plain network as it is after ``updates``, from another start than noise.

        Args:
            start: name of a prior (a DIP has the first architecture and the longest duration), or ``control``: of the
                starts that cost nothing, the one that is best on the validation images.

        Returns:
            the arm that ran, at the training axes' evaluations in the setting tuned for it, and its cell.
        """
        restoration, budget = self.runs.restoration, self.runs.axes.nfe
        judge = restoration.axes.judges[0]
        then = Restoration(restoration.fits, self.runs.denoiser(task, PLAIN, updates), [judge])
        if start == "control":
            observation = then.fits.observation(task, "test")
            able = [arm for arm in arms(then.axes, task) if arm.is_start and arm.prior.applies(observation)]
            arm = max(able, key=lambda arm: then.tuned(arm, task, budget).validation)
        else:
            arm = Arm.named(start)
            arm = then.axes.longest if arm.prior.uses_dip else arm
        tuned, ran = then.tuned(arm, task, budget), then.with_parameters(arm, task)[judge]
        return arm, then.cell_with(task, ran, tuned.setting, run, (judge,), tuned.scores)
