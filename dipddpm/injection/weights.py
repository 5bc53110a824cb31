"""weights: training begins with weights that a Deep Image Prior fitted."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from dipddpm.injection import Injection
from dipddpm.rng import ImageRng, seed_for
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation

LR, INPUT_NOISE = 1e-3, 1 / 30  # Adam; sigma_p of Ulyanov et al. 1711.10925
BATCH = 16


class Weights(Injection):
    """theta* = argmin mean_i || A_i U_theta(z_i + xi, t) - y_i ||^2, and the DDPM is trained from theta* on.

    The DIP net is the U-Net itself. Ordinary DIPs have one set of weights per image; a warm start has to be a single
    set, so here one network is fitted to all images (each with its own fixed z_i ~ N(0, I), minibatches in turn): what
    it learns is what the images share. t is held at the last step, where the DDPM's input is noise, as z is. Adam has a
    rate of 1e-3, a tenth of the usual for DIPs, since 0.01 breaks a network of GroupNorms and attention.
    """

    name = "weights"
    uses_mu = False
    trained: ClassVar[bool] = True
    initialises: ClassVar[bool] = True

    def initialise(
        self, model: nn.Module, observation: Observation, schedule: Schedule, rng: ImageRng, iterations: int
    ) -> None:
        z, n = rng.randn(*observation.pinv.shape[1:]), len(observation.y)
        draws = torch.Generator().manual_seed(seed_for("weights", *rng.seeds))
        optimizer = torch.optim.Adam(model.parameters(), lr=LR)
        order = torch.arange(0)
        for _ in range(iterations):
            if not len(order):
                order = torch.randperm(n, generator=draws)
            chosen, order = order[:BATCH], order[BATCH:]
            some = observation.part(chosen.to(z.device))
            xi = INPUT_NOISE * torch.randn(len(chosen), *z.shape[1:], generator=draws)
            output = model(z[chosen] + xi.to(z), torch.full((len(chosen),), schedule.T - 1, device=z.device))
            optimizer.zero_grad(set_to_none=True)
            (some.operator.A(output) - some.y).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
