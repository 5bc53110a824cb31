"""Does a network learn sooner with the prior, and does a prior stand in for training?

Every arm of a seed is trained on the same images with the same draws from the same initial weights, and is looked at on
the way: how well it restores, how much like photographs that looks, how well it predicts x_0 at matched signal-to-noise
ratio, after how many updates and seconds, the fitting of the priors included. Losses are not compared.
"""

from dataclasses import asdict

from dipddpm.experiments.training_runs import NONE
from dipddpm.measure.record import Measure, Record
from dipddpm.metrics import metrics
from dipddpm.train import HELD_OUT_T


def bench_training(learner_at, learning, judging, run_once, record):
    """Train an arm from its last checkpoint to this one, and see what it has learnt."""
    task, learner, updates = learner_at
    learning.trained(task, learner, updates, run_once)
    learnt, p = learning.learnt(task, learner, updates), learning.profile
    judged = judging.judged(task, learner, updates)
    by_step = {f"x_0 psnr at t={t}": learnt.x_0[t] for t in HELD_OUT_T}
    over_steps = [sum(values) / len(values) for values in zip(*by_step.values(), strict=True)]
    timings = {
        "images / s": Measure("", True, "timing", [learnt.images_per_second]),
        "prior at test": Measure("s/image", False, "timing", [learnt.test_seconds["dip"]]),
        "restoring": Measure("s/image", False, "timing", [learnt.test_seconds["diffusion"]]),
    }
    record(
        Record(
            suite="training",
            group=f"training, {task}",
            arm=learner.name,
            role="training",
            budget=updates,
            chosen=updates == p.training_updates[-1],
            axes={
                "part": learner.role,
                "injection": learner.way,
                "prior": learner.prior,
                "nfe": p.training_nfe,
                "training images": len(learning.images("train")),
                "batch": p.training_batch,
                "channels": list(p.training_channels),
                "population": len(learning.images("population")),
                "setting": asdict(learnt.setting),
            },
            measures={
                name: Measure(m.unit, m.higher_is_better, m.kind, learnt.scores[name]) for name, m in metrics().items()
            }
            | {"x_0 psnr": Measure("dB", True, "quality", over_steps)}
            | {name: Measure("dB", True, "quality", values) for name, values in by_step.items()}
            | {
                title: Measure("", higher, "quality", [value], interval=interval or ())
                for title, (value, interval, higher) in judged.items()
            }
            | timings,
            seconds=learnt.seconds,
            units={"prior": p.training_iterations * learner.prior.startswith(("dip", "other")), "training": updates},
            memory=learnt.memory,
            validation=learnt.validation,
            repeat=learning.experiment.seed,
            seeds={"seed": learning.experiment.seed, "derived from": "seed and update; task, purpose and image"},
            items=learning.experiment.images("test").keys,
        )
    )


def bench_start_by_training(start_at, learning, run_once, record):
    """Restore with the arm without a prior as it is after some updates, from noise, from a DIP, from what is free."""
    task, start, updates = start_at
    arm, cell = learning.started(task, start, updates, run_once)
    record(
        Record(
            suite="training progress",
            group=f"start by training, {task}",
            arm=f"from {start}",
            role="training",
            budget=updates,
            chosen=updates == learning.profile.training_updates[-1],
            axes={"part": {"noise": "plain", "dip": "treatment"}.get(start, "control"), "start": arm.label}
            | {"nfe": cell.nfe, "setting": asdict(cell.setting)},
            measures={
                name: Measure(m.unit, m.higher_is_better, m.kind, cell.scores[name]) for name, m in metrics().items()
            },
            seconds={"training": updates * learning.pace(task)[NONE.name]},
            units={"training": updates},
            validation=cell.validation,
            repeat=learning.experiment.seed,
            items=learning.experiment.images("test").keys,
        )
    )
