"""Are generated images closer to real ones when sampling starts from a DIP, at equal evaluations and equal seconds?

DIPs are fitted to training images; the reference are images of other photographs, which no prior saw. The controls
start from the same images blurred, from their mean colour, shuffled, and from the images themselves (which shows what
the leak gains). Beside every value stands the floor: the score of real images of some photographs against real images
of others, in sets of the same size. If the priors need all training photographs, none are left for a reference: then
there are no populations, and the report says why.
"""

import pytest

from dipddpm.errors import InputError
from dipddpm.experiments.generation_arms import generation_cells
from dipddpm.experiments.population_cells import score_floor, score_population
from dipddpm.population import population_metrics
from dipddpm.session.experiments import cell_name
from dipddpm.session.records import no_population_record, population_record

SECOND_DRAWS = 64  # images whose prior is sampled a second time, to see how much of a sample the prior decides


def points_of_sampled(experiments):
    listed = generation_cells(experiments.profile.generation, experiments.denoiser.schedule.T)
    return {f"{cell_name(arm, nfe)}{f'-t0-{t0}' if t0 else ''}": (arm, nfe, t0) for arm, nfe, t0 in listed}


def bench_generation(sampled, experiments, run_once, record):
    """Sample and score a population of one arm at one budget."""
    arm, nfe, t0 = sampled
    try:
        generation, reference = experiments.generation, experiments.reference
    except InputError as error:
        record(no_population_record(experiments, arm, nfe, t0, str(error)))
        pytest.skip(str(error))
    setting = generation.setting(arm, nfe, t0)
    found, again, mu = generation.sample(arm, setting, run=run_once), None, None
    if nfe and arm.role == "treatment":
        count = min(SECOND_DRAWS, generation.count)
        again, mu = generation.sample(arm, setting, draw=1, count=count).images, generation.mu(arm, range(count))
    scored = experiments.memo(
        score_population,
        {
            "images": found.images, "reference": reference, "photographs": generation.images("train"),
            "split": "train", "extractor": experiments.extractor, "metrics": population_metrics(),
            "again": again, "mu": mu,
        },
    )  # fmt: skip
    floor = experiments.memo(
        score_floor,
        {
            "images": generation.images("train"), "reference": reference,
            "photographs": generation.photographs(len(reference)), "split": "train",
            "extractor": experiments.extractor, "metrics": population_metrics(),
        },
    )  # fmt: skip
    record(population_record(experiments, arm, t0, found, scored.value["scores"], floor.value["scores"]))
