"""Are generated images closer to real ones when sampling starts from a DIP, at equal evaluations and equal seconds?

DIPs are fitted to training photographs; the reference is other photographs, which no prior saw. The controls enter the
same photographs blurred, as their mean colour, shuffled, and as they are (the leak made visible). ``real`` is the
photographs themselves against the reference: the floor that no population can be expected to get below.
"""

from functools import cache

import pytest
import torch

from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import Generation
from dipddpm.experiments.judging import SCORING, identity
from dipddpm.measure.record import Measure, Record
from dipddpm.rng import image_keys, seed_for

SECOND_DRAWS = 64  # images whose prior is sampled a second time, to see how much of a sample the prior decides
PHOTOGRAPHS = Arm("oracle")


@cache
def generation_of(experiment):
    """The generation experiment beside a restoration experiment, and its reference photographs."""
    p = experiment.profile
    made = Generation(
        experiment.dataset, experiment.denoiser, experiment.memo,
        count=p.population, iterations=p.generation_iterations,
        seed=experiment.seed, device=experiment.device, clock=experiment.clock,
    )  # fmt: skip
    left = len(experiment.dataset.load("train")) - p.population
    if left < p.population:
        raise InputError(f"{p.population} photographs for the reference, {left} left: lower it with --axis population=")
    return made, made.reference(min(left, p.population_reference))


@cache
def seen_by(extractor, experiment):
    """The extractor, and its features of the photographs that priors are made of and of the reference."""
    from dipddpm.extractors import open_extractor

    network, (generation, reference) = open_extractor(extractor, experiment.device), generation_of(experiment)
    return network, network.features(generation.images("train")), network.features(reference)


def bench_generation(sampled, extractor, experiment, run_once, record, request):
    """A population of one arm at one budget, and what it is worth."""
    arm, nfe, t0 = sampled
    try:
        generation, reference = generation_of(experiment)
    except InputError as error:
        pytest.skip(str(error))
    setting = generation.setting(arm, nfe, t0)
    found = generation.sample(arm, setting, run=run_once)
    real = arm == PHOTOGRAPHS and nfe == 0
    again = None
    if nfe and arm.prior == "dip":
        again = generation.sample(arm, setting, draw=1, count=min(SECOND_DRAWS, generation.count))

    def compute():
        from dipddpm.population.scores import distance_from, scores, spread_within

        network, photographs, held = seen_by(extractor, experiment)
        features = network.features(found.images)
        made = {
            name: [score.value, score.interval, score.higher_is_better]
            for name, score in scores(features, held, photographs, network, "train").items()
        }
        if again is not None:
            n = len(again.images)
            made["spread within a prior"] = [spread_within(features[:n], network.features(again.images)), None, True]
            priors = network.features(generation.mu(arm, range(n)))
            made["distance from the prior"] = [distance_from(priors, features[:n]), None, True]
        return {"scores": made}, {}

    draws = [found.images] if again is None else [found.images, again.images]
    key = {
        "images": [seed_for(*image_keys(x)) for x in (*draws, generation.images("train"), reference)],
        "extractor": identity(extractor),
        "prior": seed_for(arm),
    }
    measured = experiment.memo("population scores", key, [*SCORING, request.module], compute).info["scores"]
    record(
        Record(
            suite="generation",
            group=experiment.dataset.label,
            arm="real" if real else " ".join([arm.label, *([f"t0 {t0}"] if t0 is not None and nfe else [])]),
            role="population",
            family=arm.prior,
            budget=nfe,
            axes={"prior": arm.prior, "architecture": arm.architecture, "iterations": arm.iterations, "t0": t0},
            measures={
                name: Measure("", higher, "quality", [value], interval=interval or ())
                for name, (value, interval, higher) in measured.items()
            }
            | {"nfe": Measure("", False, "structure", [found.nfe])},
            seconds={} if real else found.seconds,
            units={"dip": found.iterations, "diffusion": found.nfe},
            memory=found.memory,
            repeat=experiment.seed,
            leak=arm.leak,
            seeds={"seed": experiment.seed, "derived from": "seed and index"},
            items=[str(seed_for(*image_keys(torch.cat([generation.images("train"), reference]))))],
        )
    )
