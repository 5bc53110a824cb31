"""Profiles: how much of every axis a run covers. The command line picks one, and may override any axis of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from dipddpm.errors import InputError
from dipddpm.registry import choose
from dipddpm.sampling import Solver
from dipddpm.tasks import tasks

EVERY_ARCHITECTURE = ("skip", "encoder_decoder", "unet", "resnet", "deep_decoder", "conv_decoder")
# A start from noise has no t0 to tune; so that its search is not the smaller one, it has more solvers to try.
START_SOLVERS: tuple[Solver, ...] = (("ddim", 0.0, 1), ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("dpmpp_2m", 0.0, 1))
NOISE_SOLVERS: tuple[Solver, ...] = (
    *(("ddim", eta, 1) for eta in (0.0, 0.5, 0.85, 1.0)),
    *(("ddim", 1.0, travel) for travel in (2, 5, 10)),
    ("dpmpp_2m", 0.0, 1),
)


@dataclass(frozen=True)
class Profile:
    """The axes of the experiment.

    Attributes:
        images: test images; validation_images: images that settings are chosen on; seeds: repeats of everything.
        tasks: the first is the one that the ablations run on.
        architectures: DIP architectures on the first task; ``name:matched`` is the width that has as many parameters
            as the first architecture. few_architectures: those on the other tasks; leaking_architectures: those on a
            task that leaks the photograph and enters no comparison (empty: the same everywhere).
        iterations: DIP training durations besides 0, ascending.
        budgets: network evaluations that every arm runs at, each an independent run.
        noise_budgets: further budgets for the start from noise: what the price of a DIP would buy it.
        t0s: steps that a start may enter at; solvers: what it may run with; noise_solvers: the same from noise.
        strengths: of the proximal data consistency, where y is noisy.
        trials: settings that each arm tries at each budget, drawn from its grid; the same number for every arm that
            has as many.
        tune_each: tune every architecture by itself; else the first one's settings serve all.
        ablations: what is varied on the first architecture alone (``full``: on each).
        grid_t0s, grid_budgets: axes of the t0 by K grid.
        batch_sizes: of the throughput suite.
        population: images that each arm generates, as many training photographs as priors are made of;
            population_reference: other training photographs that they are held against, at most.
        generation_architectures, generation_iterations: the DIPs of that suite; generation_t0s: steps to enter at.
        generation_budgets: network evaluations that its arms run at; generation_noise_budgets: further ones from noise.
        training_tasks: that the training suite restores; training_images: that its networks are trained on,
            or as many as the training split holds.
        training_channels: of those networks; training_batch: images an update; training_lr: learning rate, reached
            after training_warmup updates and kept, so that a longer run goes on from a shorter one.
        training_updates: after which they are looked at, ascending, the last being the length of a run.
        training_nfe: network evaluations of every arm there; training_solvers: what each may run them with.
        training_architecture, training_iterations: of the DIP whose output enters; the iterations are also those that
            initial weights are fitted for.
        training_prior_batch: images that are fitted at once.
        training_population: test photographs that each arm restores to be judged as a population, or as many as the
            test split holds.
    """

    name: str
    images: int
    validation_images: int
    tasks: tuple[str, ...]
    architectures: tuple[str, ...]
    iterations: tuple[int, ...]
    budgets: tuple[int, ...]
    noise_budgets: tuple[int, ...]
    few_architectures: tuple[str, ...] = ()
    leaking_architectures: tuple[str, ...] = ()
    seeds: int = 1
    t0s: tuple[int, ...] = (25, 75, 200, 450)
    solvers: tuple[Solver, ...] = START_SOLVERS
    noise_solvers: tuple[Solver, ...] = NOISE_SOLVERS
    strengths: tuple[float, ...] = (4.0, 16.0)
    trials: int = 8
    tune_each: bool = False
    ablate_each: bool = False
    grid_t0s: tuple[int, ...] = (25, 75, 200, 400, 700)
    grid_budgets: tuple[int, ...] = (1, 5, 20)
    batch_sizes: tuple[int, ...] = (1, 16, 64)
    population: int = 80
    population_reference: int = 5_000
    generation_architectures: tuple[str, ...] = ("deep_decoder",)
    generation_iterations: tuple[int, ...] = (50,)
    generation_t0s: tuple[int, ...] = (400,)
    generation_budgets: tuple[int, ...] = (5,)
    generation_noise_budgets: tuple[int, ...] = (10, 20)
    training_tasks: tuple[str, ...] = ("super_resolution",)
    training_images: int = 64
    training_channels: tuple[int, ...] = (16, 32)
    training_batch: int = 16
    training_lr: float = 2e-3
    training_warmup: int = 10
    training_updates: tuple[int, ...] = (10, 30, 80)
    training_nfe: int = 5
    training_solvers: tuple[Solver, ...] = (("ddim", 0.0, 1), ("ddim", 1.0, 1))
    training_architecture: str = "deep_decoder"
    training_iterations: int = 50
    training_prior_batch: int = 64
    training_population: int = 48

    def architectures_for(self, task: str) -> tuple[str, ...]:
        """DIP architectures that run on a task."""
        if task == self.tasks[0]:
            return self.architectures
        if self.leaking_architectures and tasks()[task].leak != "none":
            return self.leaking_architectures
        return self.few_architectures or self.architectures

    def override(self, axes: Sequence[str]) -> Profile:
        """The profile with axes replaced, each as ``name=value,value``; names are those of :data:`AXES`.

        Raises:
            InputError: no such axis, or values of another type.
        """
        changed: dict[str, object] = {}
        for text in axes:
            name, equals, values = text.partition("=")
            if not equals:
                raise InputError(f"--axis {text!r}: write NAME=VALUE,VALUE with NAME from {', '.join(AXES)}")
            field_name = AXES[choose("axis", name, AXES)]
            old = getattr(self, field_name)
            kind = type(old[0]) if isinstance(old, tuple) else type(old)
            try:
                parsed = [kind(value) for value in values.split(",")]
            except ValueError as error:
                raise InputError(f"--axis {text!r}: every value must be {kind.__name__}") from error
            changed[field_name] = tuple(dict.fromkeys(parsed)) if isinstance(old, tuple) else parsed[0]
            if kind is int and min(parsed) < (0 if name == "dip.iterations" else 1):
                raise InputError(f"--axis {text!r}: every value must be at least 1")
            if kind is float and not all(0 < value < math.inf for value in parsed):
                raise InputError(f"--axis {text!r}: every value must be a number above 0")
        if "architectures" in changed:  # of every task
            changed |= {"few_architectures": (), "leaking_architectures": ()}
        for name in ("iterations", "budgets", "noise_budgets", "training_updates"):
            if name in changed:  # ascending, and without the 0 that every arm has of itself
                changed[name] = tuple(sorted(set(changed[name]) - {0}))  # type: ignore[call-overload]
                if not changed[name]:
                    raise InputError(f"--axis: {name} needs at least one value above 0")
        return replace(self, **changed)  # type: ignore[arg-type]


AXES: Mapping[str, str] = {
    "task": "tasks",
    "dip.architecture": "architectures",
    "dip.iterations": "iterations",
    "nfe": "budgets",
    "noise.nfe": "noise_budgets",
    "t0": "t0s",
    "strength": "strengths",
    "trials": "trials",
    "images": "images",
    "validation_images": "validation_images",
    "seeds": "seeds",
    "grid.t0": "grid_t0s",
    "grid.nfe": "grid_budgets",
    "batch": "batch_sizes",
    "population": "population",
    "generation.architecture": "generation_architectures",
    "generation.iterations": "generation_iterations",
    "generation.t0": "generation_t0s",
    "generation.nfe": "generation_budgets",
    "generation.noise_nfe": "generation_noise_budgets",
    "training.task": "training_tasks",
    "training.images": "training_images",
    "training.channels": "training_channels",
    "training.batch": "training_batch",
    "training.updates": "training_updates",
    "training.nfe": "training_nfe",
    "training.dip.architecture": "training_architecture",
    "training.dip.iterations": "training_iterations",
    "training.population": "training_population",
}
assert set(AXES.values()) <= {field.name for field in fields(Profile)}

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            images=8,
            validation_images=4,
            tasks=("inpaint", "super_resolution", "denoise_25", "reconstruction"),
            architectures=EVERY_ARCHITECTURE,
            few_architectures=("skip",),
            iterations=(20,),
            budgets=(1, 5),
            noise_budgets=(20,),
            t0s=(50, 200),
            trials=2,
            grid_t0s=(50, 200),
            grid_budgets=(1, 5),
            batch_sizes=(1, 16),
            population=72,
            generation_iterations=(20,),
            generation_budgets=(2,),
            generation_noise_budgets=(5,),
            training_images=16,
            training_channels=(8, 16),
            training_batch=8,
            training_warmup=2,
            training_updates=(4, 12),
            training_iterations=10,
            training_population=16,
        ),
        Profile(
            name="quick",
            images=12,
            validation_images=5,
            tasks=("inpaint", "super_resolution", "denoise_25", "reconstruction"),
            architectures=(*EVERY_ARCHITECTURE, "conv_decoder:matched"),
            few_architectures=("skip", "deep_decoder"),
            leaking_architectures=("deep_decoder",),
            iterations=(50, 150),
            budgets=(1, 5, 20),
            noise_budgets=(150,),
            solvers=START_SOLVERS[1:3],
            noise_solvers=(
                ("ddim", 0.0, 1), ("ddim", 0.85, 1), ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("ddim", 1.0, 10),
                ("dpmpp_2m", 0.0, 1),
            ),
            strengths=(8.0,),
            trials=6,
            training_updates=(10, 40),
        ),
        Profile(
            name="full",
            images=256,
            validation_images=64,
            seeds=3,
            tasks=(
                "inpaint", "inpaint_50", "inpaint_box", "super_resolution", "super_resolution_x4",
                "denoise_15", "denoise_25", "denoise_50", "reconstruction",
            ),
            architectures=(*EVERY_ARCHITECTURE, *(f"{name}:matched" for name in EVERY_ARCHITECTURE[1:])),
            iterations=(25, 50, 100, 200, 400, 800, 1600, 3200),
            budgets=(1, 2, 5, 10, 20, 50, 100),
            noise_budgets=(200, 500, 1000),
            t0s=(10, 25, 50, 100, 150, 250, 400, 600),
            strengths=(1.0, 2.0, 4.0, 8.0, 16.0),
            noise_solvers=(
                *(("ddim", eta, travel) for eta in (0.0, 0.5, 0.85, 1.0) for travel in (1, 2, 4, 5, 10, 20)),
                ("dpmpp_2m", 0.0, 1),
            ),
            trials=20,
            tune_each=True,
            ablate_each=True,
            grid_t0s=(10, 25, 50, 100, 150, 250, 350, 475, 600, 800),
            grid_budgets=(1, 2, 5, 10, 20, 50),
            batch_sizes=(1, 16, 64, 256, 1024),
            population=10_000,
            population_reference=50_000,
            generation_architectures=("deep_decoder", "skip"),
            generation_iterations=(50, 400, 1600),
            generation_t0s=(200, 400, 600, 800),
            generation_budgets=(5, 10, 20, 50),
            generation_noise_budgets=(100, 200, 500, 1000),
            training_tasks=("super_resolution_x4", "inpaint"),
            training_images=20_000,
            training_channels=(32, 64, 96),
            training_batch=128,
            training_lr=5e-4,
            training_warmup=200,
            training_updates=(100, 300, 1000, 3000, 10_000),
            training_nfe=20,
            training_solvers=tuple(("ddim", eta, travel) for eta in (0.0, 0.85, 1.0) for travel in (1, 2, 5)),
            training_iterations=200,
            training_prior_batch=1024,
            training_population=2_000,
        ),
    )
}  # fmt: skip


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return PROFILES[choose("profile", name, PROFILES)]
