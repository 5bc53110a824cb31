"""Does a network learn sooner with the prior? One training run an arm, looked at on the way.

Losses are never compared, since what the network of an arm is asked differs. Compared are restorations at the same
number of network evaluations, and the x_0 that the networks predict at the same signal-to-noise ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from dipddpm import metrics, priors, restore, sampling, tasks
from dipddpm.batches import in_batches, joined
from dipddpm.data import Split
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.experiments import tuning
from dipddpm.experiments.arms import Arm, arms
from dipddpm.experiments.fits import recipe
from dipddpm.experiments.restoration import Cell
from dipddpm.experiments.training_runs import NONE, Learner
from dipddpm.experiments.tuning import candidates, draw_trials, tune
from dipddpm.experiments.update_times import PacedRuns
from dipddpm.injection import Injection, injection
from dipddpm.memo import Run, direct
from dipddpm.metrics.psnr import Psnr
from dipddpm.rng import ImageRng
from dipddpm.train import HELD_OUT_T

SCORED: tuple[Split, ...] = ("test", "validation")


@dataclass(frozen=True)
class Learnt:
    """An arm after some updates.

    Attributes:
        scores: {metric: one value a test image} of the restoration at a fixed number of network evaluations.
        x_0: {t: PSNR in dB, one value a test image} of the x_0 that the network predicts at step t.
        seconds: of the training run so far by stage: "prior", of all training images; "training", its updates at the
            pace of the arm.
        memory: peak bytes added, by stage.
        images_per_second: of the updates, at that pace.
        test_seconds: an image, of making its prior and of restoring it.
        setting: how it restores, chosen on the validation images at ``validation`` dB.
    """

    scores: Mapping[str, list[float]]
    x_0: Mapping[int, list[float]]
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    images_per_second: float
    test_seconds: Mapping[str, float]
    setting: restore.Setting
    validation: float


class Learning(PacedRuns):
    """The training comparison of one experiment: what its arms have learnt after some updates."""

    def learnt(self, task: str, learner: Learner, updates: int) -> Learnt:
        """Quality and cost of an arm after ``updates``."""
        denoiser, experiment, p = self.denoiser(task, learner, updates), self.experiment, self.profile
        grid = candidates(p.training_nfe, learner.way, [self.schedule.T - 1], p.training_solvers)
        settings = draw_trials(grid, p.trials, "training", task)
        made = self.prior_set(task, learner, "train")

        def compute() -> tuple[dict, dict]:
            validation = experiment.observation(task, "validation"), experiment.images("validation").x_0
            seeds = experiment.rng("validation", task, "sample").seeds
            (best,) = tune(denoiser, *validation, [self._mu(task, learner, "validation")], settings, seeds)
            x_0, observation = experiment.images("test").x_0, experiment.observation(task, "test")
            mu, started = self._mu(task, learner, "test"), experiment.clock()
            rng = experiment.rng("test", task, "sample")
            x_hat, _ = restore.restore(denoiser, observation, mu, best.setting, rng)
            seconds = experiment.clock() - started
            predicted = self._predicted(denoiser, task, injection(learner.way), mu)
            found = {"setting": asdict(best.setting), "validation": best.validation, "seconds": seconds}
            return found | {"scores": restore.score(x_hat, x_0), "x_0": predicted}, {}

        config: dict[str, object] = {
            split: [experiment.images(split).keys, experiment.seeds[split]] for split in SCORED
        }
        config |= self._config(task, learner, self._recipe(updates)) | {"task": task, "code": recipe(Learning)}
        config |= {"settings": [asdict(s) for s in settings], "denoiser": denoiser.fingerprint}
        sources = [restore, sampling, tuning, UNetDenoiser, type(injection(learner.way)), type(tasks.task(task))]
        sources += [*metrics.metrics().values(), *self._variants(task, learner)]
        info, n = self.memo("learnt", config, sources, compute).info, len(self.images("test"))
        state = self.trained(task, learner, updates)
        prior, pace = state.info["prior"] + (made.seconds if made else 0.0), self.pace(task)[learner.name]
        test = self.prior_set(task, learner, "test")
        return Learnt(
            scores=info["scores"],
            x_0={int(t): values for t, values in info["x_0"].items()},
            seconds={"prior": prior, "training": updates * pace},
            memory={"training": state.memory} | ({"prior": made.memory} if made else {}),
            images_per_second=p.training_batch / pace,
            test_seconds={"dip": test.seconds / n if test else 0.0, "diffusion": info["seconds"] / n},
            setting=restore.Setting(**info["setting"]),
            validation=info["validation"],
        )

    def started(self, task: str, start: str, updates: int, run: Run = direct) -> tuple[Arm, Cell]:
        """Restore with the network of the arm without a prior, as it is after ``updates``, from another start.

        Args:
            start: ``noise``, ``dip`` (the first architecture, longest duration), or ``control``: of the starts that
                cost nothing, the one that does best on the validation images.

        Returns:
            the arm that ran, at ``training_nfe`` evaluations in the setting tuned for it, and its cell.
        """
        p, budget = self.profile, self.profile.training_nfe
        then = self.experiment.with_denoiser(self.denoiser(task, NONE, updates))
        if start == "control":
            listed = [arm for arm in arms(p, task) if arm.role == "control" and arm.way != "none"]
            observation = self.experiment.observation(task, "test")
            able = [arm for arm in listed if priors.prior(arm.prior).applies(observation)]
            arm = max(able, key=lambda arm: then.tuned(arm, task, budget).validation)
        else:
            arm = Arm("dip", p.architectures[0], p.iterations[-1]) if start == "dip" else Arm(start)
        tuned = then.tuned(arm, task, budget)
        return arm, then.cell_with(task, arm, tuned.setting, run, tuned.validation, True)

    def _predicted(
        self, denoiser: UNetDenoiser, task: str, way: Injection, mu: Tensor | None
    ) -> dict[int, list[float]]:
        """PSNR of x_0 as samplers see it (clipped, held to y), from the true x_t at a few steps, with the same eps in
        all arms.

        The signal-to-noise ratio of a step is that of the schedule in every arm, ``residual`` included: its error in
        x_0 - mu is its error in x_0.
        """
        images, observation = self.experiment.images("test"), self.experiment.observation(task, "test")

        def predicted(t: int, some: slice) -> Tensor:
            keys, x_0, seen = images.keys[some], images.x_0[some], None if mu is None else mu[some]
            eps = ImageRng.for_images(keys, "held out", t, device=self.device).randn(*x_0.shape[1:])
            steps = torch.full((len(eps),), t)
            x_t = self.schedule.q_sample(x_0, steps, eps)
            x_hat = self.schedule.predict_x0(x_t, steps, restore.Counted(denoiser, way, seen).eps(x_t, t)).clamp(-1, 1)
            return Psnr()(observation.part(some).refine(x_hat, self.schedule.snr(t)), x_0)

        stage = restore.stage(denoiser, self.device)
        return {t: joined(in_batches(stage, len(images.keys), partial(predicted, t))).tolist() for t in HELD_OUT_T}
