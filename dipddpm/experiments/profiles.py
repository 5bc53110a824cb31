"""Profiles: how much of every axis a run covers. The command line picks one, and may override any axis of it.

The axes stand beside the experiments that use them; a profile is one value of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dipddpm.errors import InputError
from dipddpm.experiments.arms import RestorationAxes
from dipddpm.experiments.axes import Axis, axes_of, axis, deciding, overridden
from dipddpm.experiments.generation_arms import GenerationAxes
from dipddpm.experiments.stages import CostAxes
from dipddpm.experiments.training_arms import TrainingAxes
from dipddpm.registry import choose
from dipddpm.sampling import Solver

# The first is the skip net at half its width, which costs less than half and restores as well (docs/protocol.md).
EVERY_ARCHITECTURE = (
    "skip:32", "skip", "skip_mesh", "skip_deep", "encoder_decoder", "unet", "resnet", "deep_decoder", "conv_decoder",
    "fixed_upsampling", "siren",
)  # fmt: skip
EVERY_WAY = (
    "tv", "from_y", "self_guided", "aseq", "random_projector", "sgld", "red", "red_denoiser", "sure", "educated",
)  # fmt: skip
# The solvers that win most often: what a run of minutes or hours on a CPU tries.
FEW_START_SOLVERS: tuple[Solver, ...] = (
    ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("renoise", 0.5, 1), ("renoise", 0.7, 1),
)  # fmt: skip
FEW_NOISE_SOLVERS: tuple[Solver, ...] = (
    ("ddim", 0.85, 1), ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("dpmpp_2m", 0.0, 1),
    ("renoise", 0.5, 1), ("renoise", 0.7, 1), ("renoise", 0.85, 1), ("daps", 0.0, 1),
)  # fmt: skip
PARTS = ("restoration", "generation", "training", "cost")


@dataclass(frozen=True)
class Profile:
    """What a run covers, experiment by experiment; ``elsewhere`` names the profile that covers what this one omits."""

    name: str
    restoration: RestorationAxes
    generation: GenerationAxes = field(default_factory=GenerationAxes)
    training: TrainingAxes = field(default_factory=TrainingAxes)
    cost: CostAxes = field(default_factory=CostAxes)
    seeds: int = axis("seeds", "repeats of everything", 1, adds_cells=True, most=100)
    elsewhere: str = ""

    def override(self, given: Sequence[str]) -> Profile:
        """The profile with axes replaced, each given as ``name=value,value``; names are those of :func:`all_axes`.

        Raises:
            InputError: no such axis, or values of another type.
        """
        known, values = all_axes(), dict[str, str]()
        for text in given:
            name, equals, value = text.partition("=")
            if not equals:
                raise InputError(f"--axis {text!r}: write NAME=VALUE,VALUE with NAME from {', '.join(known)}")
            values[choose("axis", name, known)] = value
        parts = {name: overridden(getattr(self, name), values) for name in PARTS}
        return replace(overridden(self, values), **parts)

    def decides(self) -> dict[str, object]:
        """Every value that decides all results, by name: runs that differ in one cannot be compared."""
        found = {f"{part}.{name}": v for part in PARTS for name, v in deciding(getattr(self, part)).items()}
        return found | self.restoration.decides()


def all_axes() -> dict[str, Axis]:
    """Every axis of every part, by the name of its option."""
    parts = (RestorationAxes, GenerationAxes, TrainingAxes, CostAxes, Profile)
    return {option: declared for part in parts for option, (_, declared) in axes_of(part).items()}


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            restoration=RestorationAxes(
                images=8,  # the least that the gate compares across machines
                validation_images=2,
                tasks=("inpaint", "super_resolution", "denoise_25", "reconstruction"),
                architectures=("skip:32", "siren", "conv_decoder", "deep_decoder"),
                few_architectures=("skip:32",),
                iterations=(20,),
                ways=EVERY_WAY,
                few_ways=("sure",),
                budgets=(1, 5),
                few_budgets=(1,),
                noise_budgets=(10,),
                offers=(10,),
                offered_controls=1,
                t0s=(50, 200),
                trials=2,
                grid_t0s=(50, 200),
                grid_budgets=(1, 5),
            ),
            generation=GenerationAxes(
                population=72,
                iterations=(20,),
                budgets=(2,),
                noise_budgets=(5,),
            ),
            training=TrainingAxes(
                images=16,
                channels=(8, 16),
                batch=8,
                warmup=2,
                updates=(8,),
                iterations=10,
                population=16,
            ),
            cost=CostAxes(
                batch_sizes=(1, 16),
            ),
        ),
        Profile(
            name="quick",
            restoration=RestorationAxes(
                images=12,
                validation_images=6,
                tasks=("inpaint", "super_resolution", "denoise_25", "reconstruction"),
                architectures=("skip:32", "siren", "deep_decoder"),
                few_architectures=("skip:32",),
                leaking_architectures=("deep_decoder",),
                iterations=(25, 50),
                ways=("red_denoiser",),
                few_ways=(),
                budgets=(1, 5),
                few_budgets=(5,),
                noise_budgets=(40,),
                offers=(40,),
                offered_controls=1,
                solvers=FEW_START_SOLVERS,
                noise_solvers=FEW_NOISE_SOLVERS,
                strengths=(2.0, 8.0),
                trials=3,
            ),
            generation=GenerationAxes(
                budgets=(),
                noise_budgets=(),
            ),
            training=TrainingAxes(
                images=32,
                channels=(8, 16),
                batch=8,
                updates=(40,),
                iterations=25,
                population=24,
            ),
            elsewhere="populations from priors (in 6 minutes they would be too small to tell a treatment from a "
            "control): profile smoke shows them, standard and full say what they are worth; the other ways of fitting: "
            "smoke, standard",
        ),
        Profile(
            name="standard",
            seeds=3,
            restoration=RestorationAxes(
                images=100,
                validation_images=32,
                tasks=("inpaint", "super_resolution", "denoise_25"),
                architectures=EVERY_ARCHITECTURE,
                few_architectures=("skip:32", "deep_decoder"),
                iterations=(50, 150),
                long_iterations=(800,),
                ways=EVERY_WAY,
                few_ways=("red_denoiser",),
                budgets=(1, 10),
                few_budgets=(10,),
                noise_budgets=(100, 1000),
                offers=(100,),
                offered_controls=1,
                solvers=FEW_START_SOLVERS,
                noise_solvers=FEW_NOISE_SOLVERS,
                strengths=(2.0, 8.0),
                trials=6,
            ),
            elsewhere="every architecture to 800 iterations of skip, the first to 3200, every way on every task: full",
        ),
        Profile(
            name="full",
            seeds=3,
            restoration=RestorationAxes(
                images=256,
                validation_images=64,
                tasks=(
                "inpaint", "inpaint_50", "inpaint_box", "super_resolution", "super_resolution_x4",
                "denoise_15", "denoise_25", "denoise_50", "reconstruction",
                ),
                architectures=(*EVERY_ARCHITECTURE, *(f"{name}:matched" for name in EVERY_ARCHITECTURE[2:])),
                ways=EVERY_WAY,
                widths=(16, 64, 128),
                rates=(0.001, 0.003, 0.01, 0.03),
                varied=("skip:32", "deep_decoder", "conv_decoder"),
                iterations=(25, 50, 100, 200, 400, 800, 1600, 3200),
                budgets=(1, 2, 5, 10, 20, 50, 100),
                noise_budgets=(200, 500, 1000),
                offers=(50, 200, 500, 1000),
                offered_controls=3,
                samples=(1, 2, 5, 10),
                t0s=(2, 5, 10, 25, 50, 100, 150, 250, 400, 600),
                strengths=(1.0, 2.0, 4.0, 8.0, 16.0),
                noise_solvers=(
                *(("ddim", eta, travel) for eta in (0.0, 0.5, 0.85, 1.0) for travel in (1, 2, 4, 5, 10, 20)),
                *(("renoise", eta, 1) for eta in (0.3, 0.5, 0.7, 0.85, 1.0)),
                *(("daps", eta, travel) for eta in (0.0, 0.5, 1.0) for travel in (1, 2, 5)),
                ("dpmpp_2m", 0.0, 1),
                ),
                trials=20,
                tune_each=True,
                ablate_each=True,
                grid_t0s=(10, 25, 50, 100, 150, 250, 350, 475, 600, 800),
                grid_budgets=(1, 2, 5, 10, 20, 50),
            ),
            generation=GenerationAxes(
                population=10_000,
                reference=50_000,
                architectures=("deep_decoder", "skip"),
                iterations=(50, 400, 1600),
                t0s=(200, 400, 600, 800),
                budgets=(5, 10, 20, 50),
                noise_budgets=(100, 200, 500, 1000),
            ),
            training=TrainingAxes(
                tasks=("super_resolution_x4", "inpaint"),
                images=20_000,
                channels=(32, 64, 96),
                batch=128,
                lr=5e-4,
                warmup=200,
                updates=(100, 300, 1000, 3000, 10_000),
                nfe=20,
                solvers=tuple(("ddim", eta, travel) for eta in (0.0, 0.85, 1.0) for travel in (1, 2, 5)),
                iterations=200,
                prior_batch=1024,
                population=2_000,
            ),
            cost=CostAxes(
                batch_sizes=(1, 16, 64, 256, 1024),
            ),
        ),
    )
}  # fmt: skip


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return PROFILES[choose("profile", name, PROFILES)]
