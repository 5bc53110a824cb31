"""Profiles: how much of every axis a run covers. The command line picks one; everything else is derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dipddpm.registry import choose


@dataclass(frozen=True)
class Profile:
    """The axes of the experiment.

    Attributes:
        images: test images; validation_images: images that settings are chosen on.
        iterations: DIP training durations besides 0, ascending.
        budgets: network evaluations that every arm is run at, each an independent run.
        control_budgets: further budgets for the controls, which the price of a DIP would buy them.
        t0s: steps that a start may enter at; etas, travels: solver settings of a start.
        noise_etas, noise_travels: the same for the start from noise, which gets as many candidates.
        tune_each: tune every architecture by itself; else the first one's settings serve all.
    """

    name: str
    images: int
    validation_images: int
    tasks: tuple[str, ...]
    architectures: tuple[str, ...]
    iterations: tuple[int, ...]
    budgets: tuple[int, ...]
    control_budgets: tuple[int, ...]
    t0s: tuple[int, ...] = (150, 350, 600)
    etas: tuple[float, ...] = (0.0, 1.0)
    travels: tuple[int, ...] = (1, 5)
    noise_etas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)
    noise_travels: tuple[int, ...] = (1, 2, 5, 10)
    tune_each: bool = False


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            images=8,
            validation_images=4,
            tasks=("inpaint", "super_resolution"),
            architectures=("skip", "deep_decoder", "conv_decoder"),
            iterations=(20,),
            budgets=(1, 5),
            control_budgets=(20,),
            t0s=(350,),
            noise_etas=(0.0, 1.0),
            noise_travels=(1, 5),
        ),
        Profile(
            name="quick",
            images=16,
            validation_images=8,
            tasks=("inpaint", "super_resolution"),
            architectures=("skip", "deep_decoder", "conv_decoder"),
            iterations=(25, 100, 400),
            budgets=(1, 2, 5, 10, 20),
            control_budgets=(50, 100),
        ),
        Profile(
            name="full",
            images=256,
            validation_images=64,
            tasks=("inpaint", "super_resolution"),
            architectures=("skip", "deep_decoder", "conv_decoder"),
            iterations=(25, 50, 100, 200, 400, 800, 1600, 3200),
            budgets=(1, 2, 5, 10, 20, 50, 100),
            control_budgets=(200, 500, 1000),
            t0s=(50, 100, 150, 250, 350, 475, 600, 800),
            etas=(0.0, 0.85, 1.0),
            travels=(1, 2, 5, 10),
            tune_each=True,
        ),
    )
}


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return PROFILES[choose("profile", name, PROFILES)]
