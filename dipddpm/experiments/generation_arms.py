"""The arms of the generation experiment: what a population starts from, and with how many evaluations it is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dipddpm.experiments.arms import Arm
from dipddpm.experiments.axes import axis
from dipddpm.experiments.recipes import Recipe
from dipddpm.priors import priors


@dataclass(frozen=True)
class GenerationAxes:
    """What the generation experiment covers."""

    population: int = axis("population", "images that each arm generates, and photographs that priors are made of", 80)
    reference: int = axis("generation.reference", "other photographs that they are held against, at most", 5_000)
    architectures: tuple[str, ...] = axis(
        "generation.architecture", "DIP architectures", ("deep_decoder",), adds_cells=True
    )
    iterations: tuple[int, ...] = axis("generation.iterations", "DIP training durations", (50,), adds_cells=True)
    t0s: tuple[int, ...] = axis("generation.t0", "steps that a start enters at", (400,), adds_cells=True)
    budgets: tuple[int, ...] = axis("generation.nfe", "network evaluations of every arm", (5,), adds_cells=True)
    noise_budgets: tuple[int, ...] = axis("generation.noise_nfe", "further ones from noise", (10, 20), adds_cells=True)


def generation_arms(architectures: Sequence[str], iterations: Sequence[int]) -> list[Arm]:
    """Noise, the cheap controls, DIPs fitted to training photographs, and the photographs themselves (``oracle``).

    A control is made of the same photograph as the DIP. A prior that pairs images starts each sample from the DIP of
    another photograph, with the sample's own noise: as a population it differs from ``dip`` by chance alone, and real
    differences have to exceed that. An arm that starts from the photograph itself leaks: it shows how much a metric
    rewards copies of the training set.
    """
    listed: dict[str, list[Arm]] = {"control": [], "treatment": [], "ablation": [], "bound": []}
    for kind in priors().values():
        made = kind()
        if not made.in_generation:
            continue
        if not made.uses_dip:
            arms = [Arm(made)]
        elif made.role == "treatment":
            arms = [
                Arm(made, Recipe(architecture), duration) for architecture in architectures for duration in iterations
            ]
        else:
            arms = [
                Arm(made, Recipe(architectures[0]), max(iterations) if made.iterations is None else made.iterations)
            ]
        listed[made.role] += arms
    return sorted((arm for members in listed.values() for arm in members), key=lambda arm: arm.injection.uses_mu)


def generation_cells(axes: GenerationAxes, T: int = 1000) -> list[tuple[Arm, int, int | None]]:
    """(arm, network evaluations, t0) of every population that is asked for and that fits into ``T`` steps.

    Noise also runs at larger budgets, those that the seconds of a DIP fit would pay for. The photographs and the
    longest DIPs are also populations without diffusion (0 evaluations): the floor of the metrics, and the images that
    the diffusion starts from. If no budgets are asked for, the list is empty.
    """
    listed: list[tuple[Arm, int, int | None]] = []
    if not axes.budgets:
        return listed
    for arm in generation_arms(axes.architectures, axes.iterations):
        if not arm.injection.uses_mu:
            listed += [(arm, n, None) for n in (*axes.budgets, *axes.noise_budgets) if n <= T]
            continue
        if arm.role == "bound" or (arm.role == "treatment" and arm.iterations == max(axes.iterations)):
            listed.append((arm, 0, None))
        t0s = [t0 for t0 in axes.t0s if t0 < T]
        listed += [(arm, n, t0) for t0 in t0s for n in axes.budgets if n <= t0 + 1]
    return listed
