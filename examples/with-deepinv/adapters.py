"""dipddpm and deepinv in one comparison: our arms as solvers of deepinv's protocol, deepinv's methods as our arms.

    from deepinv_bench import run_benchmark                     # pip install git+https://github.com/deepinv/benchmarks
    run_benchmark(Ours("dip", iterations=150), "div2k_inpainting_easy")  # our arm under their protocol
    dipddpm bench controls -k deepinv --profile smoke           # theirs under ours, by the conftest.py beside this file

Images of deepinv lie in [0, 1], ours in [-1, 1]: x' = 2 x - 1. For a linear A that is y' = A x' = 2 y - A 1, and noise
is twice as large. So one operator serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import deepinv
import torch
from torch import Tensor

from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architecture_class, width_for
from dipddpm.errors import InputError
from dipddpm.fitting import fit_dip, fitting_method
from dipddpm.pictures import MULTIPLE, AtSize, named_prior
from dipddpm.priors import ArmRole, Evidence, Prior
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation, Operator
from dipddpm.tasks.inpaint import Mask

# ---- Our arms as solvers of deepinv -------------------------------------------------------------------------------


class PhysicsOperator(Operator):
    """A linear operator of deepinv, on images of ours."""

    def __init__(self, physics: deepinv.physics.LinearPhysics):
        self.physics = physics

    def A(self, x: Tensor) -> Tensor:
        return self.physics.A(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.physics.A_adjoint(y)

    def A_pinv(self, y: Tensor) -> Tensor:
        return self.physics.A_dagger(y)


def as_operator(physics: deepinv.physics.LinearPhysics) -> Operator:
    """Their operator as one of ours. A mask that is the same for all colours is our mask, so that controls which fill
    holes know it for one."""
    mask = getattr(physics, "mask", None)
    if isinstance(physics, deepinv.physics.Inpainting) and isinstance(mask, Tensor) and (mask == mask[:, :1]).all():
        return Mask(mask[:, :1])
    return PhysicsOperator(physics)


def as_observation(y: Tensor, physics: deepinv.physics.LinearPhysics) -> Observation:
    """What deepinv measured, as our arms take it.

    Raises:
        InputError: an operator that is not linear, or noise that is neither absent nor white and Gaussian.
    """
    if not isinstance(physics, deepinv.physics.LinearPhysics):
        raise InputError(f"{type(physics).__name__} is not linear: our arms restore from y = A x + n")
    noise = physics.noise_model
    if not isinstance(noise, deepinv.physics.ZeroNoise | deepinv.physics.GaussianNoise):
        raise InputError(f"{type(noise).__name__}: our arms know white Gaussian noise alone")
    sigma = 2 * float(torch.as_tensor(getattr(noise, "sigma", 0.0)).max())
    identity = isinstance(physics, deepinv.physics.Denoising)
    consistency = "projection" if sigma == 0 else "proximal" if identity else "none"
    ones = torch.ones_like(physics.A_adjoint(y))
    return Observation(2 * y - physics.A(ones), as_operator(physics), sigma, consistency)


class Ours(deepinv.models.Reconstructor):
    """One of our arms: mu from a prior, and the reverse diffusion that starts there.

    Args:
        arm: where it starts: ``dip``, ``noise``, or a control such as ``biharmonic`` that applies to the operator.
        nfe: network evaluations; 0 gives the prior alone.
        t0: step that mu enters at.
    """

    def __init__(
        self, arm: str = "dip", *, architecture: str = "skip:32", way: str = "plain", iterations: int = 150,
        nfe: int = 5, t0: int = 100, seed: int = 0, device: torch.device | str = "cpu",
    ):  # fmt: skip
        super().__init__(device=device)
        self.device = torch.device(device)
        self.arm, self.architecture, self.way, self.iterations = arm, architecture, way, iterations
        self.nfe, self.t0, self.seed = nfe, t0, seed

    def forward(self, y: Tensor, physics: deepinv.physics.LinearPhysics, **_: object) -> Tensor:
        """(N, 3, S, S) in [0, 1] from measurements.

        Raises:
            InputError: the operator, the noise or the size of the images is not one for our arms.
        """
        observation = as_observation(y, physics)
        height, width = observation.pinv.shape[-2:]
        if height != width or height % MULTIPLE:
            raise InputError(f"{height} x {width} pixels: our networks take squares of whole multiples of {MULTIPLE}")
        start = named_prior(self.arm, observation)
        denoiser = AtSize(open_denoiser("unet", y.device), height)
        dip = self._dip(observation, height) if start.uses_dip else None
        with torch.no_grad():
            mu = start.mu(Evidence(observation, dip=dip, denoiser=denoiser).shown_to(start))
            setting = (
                Setting(self.nfe, eta=1.0) if mu is None else Setting(self.nfe, injection=start.injection, t0=self.t0)
            )
            x_hat, _ = restore(denoiser, observation, mu, setting, self._rng(y))
        return (x_hat.clamp(-1, 1) + 1) / 2

    def _dip(self, observation: Observation, size: int) -> Tensor:
        """The last iterate of a fit; deepinv tests without gradients, and a fit needs them."""
        with torch.enable_grad():
            fit = fit_dip(
                architecture_class(self.architecture), observation, self._rng(observation.y),
                iterations=[self.iterations], size=size, width=width_for(self.architecture, size, self.architecture),
                method=fitting_method(self.way),
            )  # fmt: skip
        return fit.mu(self.iterations)

    def _rng(self, y: Tensor) -> ImageRng:
        return ImageRng([self.seed + i for i in range(len(y))], y.device)


# ---- deepinv's methods as arms of ours ----------------------------------------------------------------------------


def as_physics(operator: Operator, img_size: Sequence[int]) -> deepinv.physics.LinearPhysics:
    """An operator of ours as one of deepinv's."""

    class OperatorPhysics(deepinv.physics.LinearPhysics):
        def A_dagger(self, y: Tensor, **_: object) -> Tensor:
            return operator.A_pinv(y)

    return OperatorPhysics(
        A=lambda x, **_: operator.A(x), A_adjoint=lambda y, **_: operator.A_adjoint(y), img_size=tuple(img_size)
    )


class DeepinvTv(Prior):
    """deepinv's total variation: min_x |A x - y|^2 / 2 + weight TV(x) by proximal gradient, from A^+ y.

    Args:
        weight: of the total variation, in units of [0, 1] images.
        steps: of proximal gradient.
    """

    name = "deepinv_tv"
    role: ClassVar[ArmRole] = "control"

    def __init__(self, weight: float = 0.05, steps: int = 30):
        self.weight, self.steps = weight, steps

    def variants(self) -> Sequence[DeepinvTv]:
        return [DeepinvTv(weight, self.steps) for weight in (0.01, 0.05, 0.1)]

    def mu(self, evidence: Evidence) -> Tensor:
        # One image at a time: the stopping criteria of both loops look at a whole batch.
        parts = [evidence.observation.part(slice(i, i + 1)) for i in range(len(evidence.observation.y))]
        return evidence.observation.consistent(torch.cat([self._restored(part) for part in parts]))

    def _restored(self, observation: Observation) -> Tensor:
        start = (observation.pinv + 1) / 2
        physics = as_physics(observation.operator, start.shape[1:])
        model = deepinv.optim.PGD(
            data_fidelity=deepinv.optim.L2(), prior=deepinv.optim.TVPrior(n_it_max=50), lambda_reg=self.weight,
            stepsize=1.0, max_iter=self.steps, early_stop=True, thres_conv=1e-4,
        )  # fmt: skip
        y = (observation.y + observation.operator.A(torch.ones_like(start))) / 2
        return (2 * model(y, physics, init=start) - 1).clamp(-1, 1)
