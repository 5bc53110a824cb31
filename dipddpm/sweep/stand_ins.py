"""Stand-ins for results that are not there yet: of the same form, with made-up numbers, so that a point can be followed
to its end and what it will ask for can be counted. None of them is ever stored.

Every stand-in has numbers of its own, drawn by the key of its call, so that calls that depend on different results get
different keys.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dipddpm.experiments.cells import run_arm
from dipddpm.experiments.population_cells import sample_population, score_floor, score_population
from dipddpm.experiments.recipes import dip_flops
from dipddpm.experiments.training_checks import check_network, judge_restorations
from dipddpm.experiments.training_steps import initial_weights, train_stretch
from dipddpm.experiments.tuning import tune
from dipddpm.experiments.update_times import time_updates
from dipddpm.fitting import DipFit, fit_observations
from dipddpm.measure.store import Call
from dipddpm.prior_sets import make_prior
from dipddpm.training import Training, initial_network

Values = Mapping[str, Any]


def stand_in(call: Call) -> dict[str, Any] | None:
    """A made-up result of a call; None for a function that is not known here."""
    made = KNOWN.get(call.function)
    return made(call.arguments, random.Random(call.key)) if made else None


def _like(images: Tensor, rng: random.Random, *shape: int) -> Tensor:
    """(*shape, N, 3, H, W): one number a batch, in [-1, 1]; it takes no memory."""
    values = torch.tensor([rng.uniform(-1, 1) for _ in range(torch.Size(shape).numel())], device=images.device)
    return values.view(*shape, 1, 1, 1, 1).expand(*shape, *images.shape)


def _fit(a: Values, rng: random.Random) -> dict[str, Any]:
    images, durations = a["observation"].pinv, a["iterations"]
    seconds = tuple(float(i) for i in durations)
    loss = torch.zeros(len(durations), len(images))
    charged = torch.full((len(images),), float(durations[-1]))
    fit = DipFit(
        tuple(durations), _like(images, rng, len(durations)), _like(images, rng, len(durations)), loss, seconds, 1,
        {rule.name: (_like(images, rng), charged) for rule in a["rules"]},
        {rule.name: seconds for rule in a["rules"]},
    )  # fmt: skip
    return fit.packed()


def _tune(a: Values, rng: random.Random) -> dict[str, Any]:
    return {judge.name: [[rng.random() for _ in a["settings"]] for _ in a["mus"]] for judge in a["judges"]}


def _cell(a: Values, rng: random.Random) -> dict[str, Any]:
    scores = {metric.name: [rng.random() for _ in a["x_0"]] for metric in a["metrics"]}
    return {"x_hat": _like(a["x_0"], rng), "scores": scores, "nfe": a["setting"].nfe, "seconds": 1.0}


def _prior(a: Values, rng: random.Random) -> dict[str, Any]:
    return {"mu": _like(a["evidence"].observation.pinv, rng), "seconds": 1.0}


def _weights(a: Values, rng: random.Random) -> dict[str, Any]:
    weights = initial_network(a["config"], a["seed"], a["injection"].channels).state_dict()
    return {"weights": _shifted(weights, rng), "seconds": 1.0}


def _stretch(a: Values, rng: random.Random) -> dict[str, Any]:
    model = initial_network(a["config"], a["settings"].seed, a["injection"].channels)
    state = Training(model, a["schedule"], a["settings"], a["injection"], "cpu").state()
    return {"state": _shifted(state, rng)}


def _shifted(tensors: Mapping[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    by = rng.uniform(0, 1e-3)
    return {name: t + by if t.is_floating_point() else t for name, t in tensors.items()}


def _checked(a: Values, rng: random.Random) -> dict[str, Any]:
    scores = {metric.name: [rng.random() for _ in a["keys"]] for metric in a["metrics"]}
    return {"best": 0, "validation": rng.random(), "seconds": 1.0, "scores": scores, "x_0": {}}


def _population(a: Values, rng: random.Random) -> dict[str, Any]:
    size = a["denoiser"].size
    image = torch.tensor([rng.randrange(256) for _ in range(3 * size * size)], dtype=torch.uint8)
    images = image.view(1, 3, size, size).expand(a["count"], 3, size, size)
    return {"images": images, "nfe": a["setting"].nfe, "seconds": 1.0}


def _no_scores(a: Values, rng: random.Random) -> dict[str, Any]:
    return {"scores": {}}


KNOWN: Mapping[Callable, Callable[[Values, random.Random], dict[str, Any]]] = {
    fit_observations: _fit,
    tune: _tune,
    run_arm: _cell,
    make_prior: _prior,
    initial_weights: _weights,
    train_stretch: _stretch,
    check_network: _checked,
    sample_population: _population,
    judge_restorations: _no_scores,
    score_population: _no_scores,
    score_floor: _no_scores,
    time_updates: lambda a, rng: {"seconds": dict.fromkeys(a["injections"], 1.0)},
    dip_flops: lambda a, rng: {"flops": dip_flops(**a)["flops"]},
}
