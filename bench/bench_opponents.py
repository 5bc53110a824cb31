"""Are our samples from noise as good as those of what one would run instead: DDRM, DiffPIR and DPS of deepinv?

``pytest bench -k opponents``, with the extra ``[peers]``. The same network, the same y and at most as many network
evaluations; each side chooses among six settings on the validation images and is scored once on the test images.
deepinv's own code runs, in its own units: images in [0, 1], noise levels in the same units. DPS also computes a
gradient for each evaluation (at the cost of about two more evaluations); gradients are counted separately.
"""

import inspect
import math
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch

from dipddpm.injection.matched import Matched
from dipddpm.injection.none import NoInjection
from dipddpm.measure.record import Measure, Record
from dipddpm.measure.statistics import paired_difference
from dipddpm.metrics.psnr import Psnr
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.session.records import describe
from dipddpm.tasks.inpaint import Mask
from dipddpm.tasks.super_resolution import BlockMean

# deepinv is imported where it is run: that takes seconds, and most sessions ask other questions.
if find_spec("deepinv") is None:
    pytest.skip("needs pip install 'dipddpm[peers]'", allow_module_level=True)

NFE = 100
NOISE, MATCHED = NoInjection(), Matched()
OURS = {
    "projection": [
        Setting(NFE, NOISE, sampler=sampler, eta=eta, travel=travel)
        for sampler, eta, travel in (
            ("renoise", 0.5, 1), ("renoise", 0.7, 1), ("renoise", 0.85, 1), ("renoise", 1.0, 1), ("ddim", 1.0, 5),
            ("ddim", 1.0, 10),
        )
    ],
    # A noisy y is itself a state of the diffusion at some noise level: DDRM and our matched start both use that.
    "proximal": [
        *(Setting(NFE, NOISE, sampler="renoise", eta=0.7, strength=strength) for strength in (1.0, 2.0, 4.0)),
        *(Setting(NFE, NOISE, sampler="ddim", eta=1.0, strength=strength) for strength in (4.0, 8.0)),
        Setting(1, MATCHED, held=False),
    ],
}  # fmt: skip
THEIRS = {
    "DDRM": [{"eta": eta, "spacing": spacing} for eta in (0.5, 0.85, 1.0) for spacing in ("linear", "ours")],
    "DiffPIR": [{"lambda_": weight, "zeta": zeta} for weight in (1.0, 7.0) for zeta in (0.1, 0.3, 1.0)],
    "DPS": [{"guidance": "norm", "weight": weight} for weight in (30.0, 100.0, 300.0)]
    + [{"guidance": "annealed", "weight": weight} for weight in (1.0, 3.0, 10.0)],
}
NEARLY_NOISELESS = 0.001  # DiffPIR divides by the noise level of y; its authors put this in place of 0


def as_deepinv(denoiser):
    """Our network as one of deepinv's denoisers: (x, sigma) in units of [0, 1] to the clean x.

    deepinv adds noise to the image (x = x_0 + sigma n), we mix it in (x_t = sqrt(abar) x_0 + sqrt(1 - abar) n). With
    s = 2 sigma in units of [-1, 1] and abar = 1 / (1 + s^2), x_t = sqrt(abar) (2 x - 1) is the same state; the network
    is asked at the step whose noise level is nearest to s, and its noise taken s times away. Below half the smallest
    level of the schedule there is nothing to take away, and no evaluation. ``evaluations`` and ``backward`` count per
    image.
    """
    import deepinv

    # The plain function: below ``inference_mode``, which wraps it, there are no gradients, and DPS needs them.
    eps, schedule = inspect.unwrap(type(denoiser).eps), denoiser.schedule

    class Ours(deepinv.models.Denoiser):
        evaluations = backward = 0

        def forward(self, x, sigma, **_):
            s = 2 * float(torch.as_tensor(sigma).flatten()[0])
            if s < 0.5 * schedule.snr(0) ** -0.5:
                return x
            self.evaluations += 1
            self.backward += torch.is_grad_enabled()
            image = 2 * x - 1
            noise = eps(denoiser, image / (1 + s**2) ** 0.5, schedule.matched_step(s))
            x_0 = image - s * noise
            # Clipped as our samplers clip; DPS clips by itself, and needs the gradient of what lies outside.
            return (x_0 if torch.is_grad_enabled() or not denoiser.clip else x_0.clamp(-1, 1)) / 2 + 0.5

    return Ours()


def as_physics(observation, sigma):
    """The degradation of one observation as deepinv's: the same A, on images in [0, 1]; ``sigma`` in those units."""
    import deepinv

    noise, size = deepinv.physics.GaussianNoise(sigma), observation.pinv.shape[-1]
    if isinstance(observation.operator, Mask):
        mask = observation.operator.mask.expand(1, 3, size, size)
        return deepinv.physics.Inpainting((3, size, size), mask=mask, noise_model=noise)
    if not isinstance(observation.operator, BlockMean):
        return deepinv.physics.Denoising(noise)
    f = observation.operator.factor
    # An orthonormal basis of a block whose first vector is constant: its coefficient is ``f`` times the mean.
    start = torch.cat([torch.ones(f * f, 1), torch.eye(f * f)[:, 1:]], 1)
    basis = torch.linalg.qr(start).Q
    basis = basis * basis[0, 0].sign()
    singular = torch.zeros(1, 3, f * f, size // f, size // f)
    singular[:, :, 0] = 1 / f

    def to_blocks(x):
        blocks = torch.nn.functional.pixel_unshuffle(x, f).unflatten(1, (3, f * f))
        return torch.einsum("ncphw,pq->ncqhw", blocks, basis.to(x))

    def from_blocks(z):
        blocks = torch.einsum("ncqhw,pq->ncphw", z, basis.to(z))
        return torch.nn.functional.pixel_shuffle(blocks.flatten(1, 2), f)

    def pad(y):
        return torch.cat([y[:, :, None], y.new_zeros(*y.shape[:2], f * f - 1, *y.shape[2:])], 2)

    return deepinv.physics.DecomposablePhysics(
        U=lambda z: z[:, :, 0], U_adjoint=pad, V=from_blocks, V_adjoint=to_blocks, mask=singular, noise_model=noise
    )


def theirs(opponent, denoiser, observation, setting, seeds, nfe):
    """Their restoration, image by image (DDRM takes one mask): x_hat (N, 3, H, W) in [-1, 1], held to a noiseless y at
    the end as ours are, with the evaluations and gradients per image that it took."""
    import deepinv

    sampling, network, schedule, x_hat = deepinv.sampling, as_deepinv(denoiser), denoiser.schedule, []
    for i, seed in enumerate(seeds):
        one = observation.part(slice(i, i + 1))
        sigma = one.sigma / 2
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            physics = as_physics(one, sigma)
            y = (one.operator.A(torch.ones_like(one.pinv)) + one.y) / 2  # A of (1 + x) / 2
            if opponent == "DDRM":
                levels = torch.linspace(1, 0, nfe + 1)
                if setting["spacing"] == "ours":
                    ours = [schedule.snr(t) ** -0.5 / 2 for t in schedule.steps(nfe)]
                    levels = torch.tensor([*ours, 0.0])
                model = sampling.DDRM(network, sigmas=levels.numpy(), eta=setting["eta"])
                found = model(y, physics)
            elif opponent == "DiffPIR":
                physics.noise_model = deepinv.physics.GaussianNoise(max(sigma, NEARLY_NOISELESS))
                fidelity = deepinv.optim.data_fidelity.L2()
                model = sampling.DiffPIR(network, fidelity, max(sigma, NEARLY_NOISELESS), max_iter=nfe, **setting)
                found = model(y, physics, x_init=one.pinv / 2 + 0.5)
            else:
                found = sampling.DPS(network, num_steps=nfe + 1, **setting)(y, physics)
        x_hat.append(2 * found.float() - 1)
    count = len(seeds)
    restored = observation.consistent(torch.cat(x_hat)).clamp(-1, 1)
    return restored, network.evaluations / count, network.backward / count


def best_of_ours(denoiser, observed, x_0, seeds, settings):
    """PSNR of our samples on the test images; arguments as in :func:`best_of_theirs`."""

    def run(setting, split):
        mu = observed[split].y if setting.injection.uses_mu else None
        t0 = setting.injection.t0s(denoiser.schedule, observed[split].sigma, [])[0]
        rng = ImageRng(seeds[split], x_0[split].device)
        return (*restore(denoiser, observed[split], mu, replace(setting, t0=t0), rng), 0)

    return best(run, settings, x_0)


def best_of_theirs(opponent, denoiser, observed, x_0, seeds, settings, versions):
    """PSNR of an opponent's samples on the test images, with the setting that is best on the validation images.

    Args:
        observed, x_0, seeds: by split: the observation, the photographs, and a seed per image.
        versions: of what runs, which a stored result is known by.
    """

    def run(setting, split):
        return theirs(opponent, denoiser, observed[split], setting, seeds[split], NFE)

    return best(run, settings, x_0)


def best(run, settings, x_0):
    """``run(setting, split)`` on the test images with the setting of best mean PSNR on the validation images."""
    scores = [float(Psnr()(run(setting, "validation")[0], x_0["validation"]).mean()) for setting in settings]
    scores = [score if math.isfinite(score) else -math.inf for score in scores]
    chosen = max(range(len(settings)), key=scores.__getitem__)
    x_hat, evaluations, gradients = run(settings[chosen], "test")
    psnr = Psnr()(x_hat, x_0["test"]).tolist()
    return {"chosen": chosen, "psnr": psnr, "nfe": evaluations, "gradients": gradients, "validation": scores}


def points_of_duel(experiments):
    listed = experiments.profile.restoration.tasks
    tasks = [task for task in ("inpaint", "super_resolution", "denoise_25") if task in listed]
    return {f"{task}-{opponent}": (task, opponent) for task in tasks for opponent in THEIRS}


def bench_opponents(duel, asked_for, experiments, run_once, record):
    """Our arm from noise and one of deepinv's samplers: PSNR on the same images, paired."""
    (task, opponent), fits = duel, experiments.fits
    observed = {split: fits.observation(task, split) for split in ("validation", "test")}
    ours, other = OURS[observed["test"].consistency], THEIRS[opponent]
    shared = {
        "denoiser": experiments.denoiser,
        "observed": observed,
        "x_0": {split: fits.images(split).x_0 for split in observed},
        "seeds": {split: fits.rng(split, task, "sample").seeds for split in observed},
    }
    call = {"opponent": opponent, "settings": other, "versions": {"deepinv": version("deepinv")}}
    their = experiments.memo(best_of_theirs, shared | call, run=run_once).value
    our = experiments.memo(best_of_ours, shared | {"settings": ours}).value
    gain = paired_difference(our["psnr"], their["psnr"], fits.images("test").photographs)
    setting = ours[our["chosen"]]
    chosen = {
        "ours": f"{setting.injection.name} start, {describe(setting)}"
        if setting.injection.uses_mu
        else describe(setting),
        "theirs": ", ".join(f"{name} {value}" for name, value in other[their["chosen"]].items()),
    }
    record(
        Record(
            suite="opponents", group=task, arm=f"deepinv {opponent}", role="stage", budget=NFE,
            axes={**chosen, "images": len(our["psnr"])},
            measures={
                "our psnr": Measure("dB", True, "quality", our["psnr"]),
                "their psnr": Measure("dB", True, "quality", their["psnr"]),
                "ours above theirs": Measure("dB", True, "quality", [gain.mean], interval=(gain.low, gain.high)),
                "our nfe": Measure("", False, "structure", [our["nfe"]]),
                "their nfe": Measure("", False, "structure", [their["nfe"]]),
                "their gradients": Measure("", False, "structure", [their["gradients"]]),
            },
            seconds={}, repeat=experiments.seed, items=fits.images("test").keys,
        )
    )  # fmt: skip
