"""The steps of a training run, each as a store keeps it: initial weights, and a stretch of updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.injection.weights import BATCH
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation
from dipddpm.training import Training, TrainingSettings, initial_network
from dipddpm.unet import UNet


def initial_weights(
    injection: Injection,
    observation: Observation,
    seeds: Sequence[int],
    iterations: int,
    config: Mapping[str, Any],
    seed: int,
    schedule: Schedule,
    clock: Callable[[], float],
) -> dict[str, object]:
    """The U-Net of a seed, with weights that are fitted to observations as those of a DIP are.

    Returns:
        ``weights``: its state; ``seconds`` of the fit.
    """
    device = observation.y.device
    model = initial_network(config, seed, injection.channels).to(device)
    _pass_once(model, device)
    started = clock()
    injection.initialise(model, observation, schedule, ImageRng(seeds, device), iterations)
    return {"weights": model.state_dict(), "seconds": clock() - started}


def _pass_once(model: UNet, device: torch.device) -> None:
    """One unmeasured pass, forward and back, so that the fit of initial weights does not pay for start-up."""
    size = model.config["size"]
    x = torch.zeros(BATCH, model.config["in_channels"], size, size)
    t = torch.zeros(len(x), dtype=torch.long, device=device)
    model(x.to(device), t).sum().backward()
    model.zero_grad(set_to_none=True)


def train_stretch(
    injection: Injection,
    images: Tensor,
    mu: Tensor | None,
    config: Mapping[str, Any],
    settings: TrainingSettings,
    schedule: Schedule,
    device: torch.device,
    weights: Mapping[str, Tensor] | None,
    state: Mapping[str, Tensor] | None,
) -> dict[str, object]:
    """The state of a training after ``settings.steps`` updates.

    Args:
        weights: initial weights; None for those that its seed gives.
        state: the training state to continue from; None at the beginning.
    """
    model = initial_network(config, settings.seed, injection.channels).to(device)
    if weights is not None:
        model.load_state_dict(dict(weights))
    training = Training(model, schedule, settings, injection, device)
    if state is not None:
        training.load(state)
    while training.done < settings.steps:
        training.update(images, mu)
    return {"state": training.state()}
