"""A warm start that is learned: a small U-Net that looks at y and gives a mean and a spread for every pixel.

Scholz & Turner, "Warm starts accelerate generative modelling" (2507.09212), section 3: a deterministic network predicts
N(mean, spread^2) from what was observed, and the generation starts there instead of from N(0, 1). Theirs ends in a
generator that is trained in coordinates of (mean, spread); here the mean enters an ordinary DDPM, like every other mu.

One network serves every degradation, because it is shown nothing but what all of them have: A^+ y, A^+ A 1 and sigma.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from msgspec import Meta, Struct
from msgspec.structs import asdict
from safetensors.torch import save
from torch import Tensor, nn

from dipddpm.documents import TrainedRecord, open_tensors, read_document, read_weights_with_record
from dipddpm.errors import InputError
from dipddpm.paths import shown
from dipddpm.tasks import Observation
from dipddpm.unet import Stored, zeroed

FOLD = 2  # pixels of a side that become channels
ROUNDS = 12  # of smoothing: 24.4 dB on filled holes of 70 %, as after 64 of them
CHANNELS = 5  # of the input: three colours, how much of each pixel was observed, the noise level
FLOOR = 0.002  # smallest spread: half a level of 8 bits on [-1, 1] images; below it there is nothing to be known
FORMAT = "dipddpm-warm-start-1"
VERB = "`dipddpm train-warm-start`"


class Prediction(NamedTuple):
    """What the network makes of an observation: mean and spread (a standard deviation), each (N, 3, H, W)."""

    mean: Tensor
    spread: Tensor


class Residual(nn.Module):
    """x + conv(ReLU(conv(x))), no norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class WarmStart(Stored):
    """(smooth estimate from A^+ y, A^+ A 1, sigma) -> mean and spread.

    A U-Net for restoration, as DRUNet is (Zhang et al. 2008.13751, section 4.1): residual blocks without norms, skips
    that are added, the noise level as a constant channel. (A norm, as the denoiser's U-Net has, divides by the contrast
    of the image, to which every correction is proportional; that network took twice the time for an update.) Four
    pixels of a square are one position with four times the channels (FFDNet, Zhang et al. 1710.04026, section 3.1):
    twice the width for the same cost. The mean is a correction of the smooth estimate.

    Args:
        size: height and width of the images, a multiple of 2 to the power of the number of ``channels``.
        channels: width at each resolution, from half the size downwards. blocks: residual blocks at each resolution, on
            the way down and again on the way up; twice as many at the lowest.

    Raises:
        InputError: a size that cannot be halved that often.
    """

    def __init__(self, size: int = 32, channels: Sequence[int] = (48, 96), blocks: int = 1):
        super().__init__()
        if not channels or size % 2 ** len(channels):
            raise InputError(f"a warm start with {len(channels)} resolutions cannot halve {size} px that often")
        self.config: dict[str, Any] = dict(size=size, channels=list(channels), blocks=blocks)

        def stage(width: int) -> nn.Sequential:
            return nn.Sequential(*(Residual(width) for _ in range(blocks)))

        wider = list(pairwise(channels))
        self.stem = nn.Conv2d(FOLD**2 * CHANNELS, channels[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Sequential(stage(a), nn.Conv2d(a, b, 2, stride=2)) for a, b in wider)
        self.middle = nn.Sequential(stage(channels[-1]), stage(channels[-1]))
        self.up = nn.ModuleList(nn.Sequential(nn.ConvTranspose2d(b, a, 2, stride=2), stage(a)) for a, b in wider[::-1])
        self.correction = zeroed(nn.Conv2d(channels[0], FOLD**2 * 3, 3, padding=1))
        self.spread = nn.Sequential(
            nn.Conv2d(channels[0], channels[0], 3, padding=1),
            nn.ReLU(),
            zeroed(nn.Conv2d(channels[0], FOLD**2 * 3, 3, padding=1)),
        )

    def forward(self, smooth: Tensor, weight: Tensor, sigma: Tensor) -> Prediction:
        """Mean and spread.

        Args:
            smooth: (N, 3, H, W), a :func:`smooth_estimate`. weight: (N, 1, H, W) in [0, 1]. sigma: (N,).
        """
        noise = sigma[:, None, None, None].expand_as(weight)
        h = self.stem(F.pixel_unshuffle(torch.cat([smooth, weight, noise], dim=1), FOLD))
        skips = [h]
        for layers in self.down:
            h = layers(h)
            skips.append(h)
        h = self.middle(h) + skips.pop()
        for layers in self.up:
            h = layers(h) + skips.pop()
        mean = smooth + F.pixel_shuffle(self.correction(h), FOLD)
        # The spread reads what the mean rests on, and does not move it.
        raw = F.pixel_shuffle(self.spread(h.detach()), FOLD)
        # softplus(-2) = 0.13: the spread of an untrained network, about what a smooth estimate is wrong by.
        return Prediction(mean, FLOOR + F.softplus(raw - 2))

    def predict(self, observations: Sequence[Observation]) -> list[Prediction]:
        """The prediction for each of some observations, all in one batch; each mean is made to agree with its y.

        So the loss falls on what y leaves open: where y is noiseless the network need not learn to repeat it.
        """
        shown = [inputs(observation) for observation in observations]
        mean, spread = self(*(torch.cat(parts) for parts in zip(*shown, strict=True)))
        sizes = [len(observation.y) for observation in observations]
        means = zip(observations, mean.split(sizes), strict=True)
        agreeing = [observation.consistent(part) for observation, part in means]
        return [Prediction(*parts) for parts in zip(agreeing, spread.split(sizes), strict=True)]


def inputs(observation: Observation) -> tuple[Tensor, Tensor, Tensor]:
    """What the network is shown of an observation: the arguments of :meth:`WarmStart.forward`."""
    weight = observation.weight()
    sigma = torch.full((len(weight),), observation.sigma, device=weight.device)
    return smooth_estimate(observation), weight.mean(1, keepdim=True), sigma


def smooth_estimate(observation: Observation) -> Tensor:
    """A^+ y, and where that leaves something open, the smoothest image that agrees with y, nearly: (N, 3, H, W).

    Among the images that agree with a noiseless y it lowers ||(I - G) x||^2, G a small blur, as a thin plate lowers its
    bending (biharmonic inpainting does the same): gradient steps of size 1, each projected on y, with Nesterov's
    momentum (1983). The network begins where this ends: trained from filled holes alone it had not come as far after
    minutes.
    """
    x = observation.consistent(fill(observation.pinv, observation.weight()))
    if observation.consistency != "projection":
        return x
    before = x
    for k in range(ROUNDS):
        ahead = x + k / (k + 3) * (x - before)
        once = _blur(ahead)
        before, x = x, observation.consistent(2 * once - _blur(once))  # x - (I - G)^2 x = 2 G x - G^2 x
    return x


def _blur(x: Tensor) -> Tensor:
    """A binomial blur of 3 x 3 pixels, the border repeated."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
    return (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4


def fill(seen: Tensor, weight: Tensor) -> Tensor:
    """``seen`` with its holes filled from ever coarser means of what lies around them, (N, C, H, W).

    The pull-push algorithm (Gortler et al. 1996, "The Lumigraph", section 3.4): means over 2 x 2 pixels, as far as any
    of them was seen, are filled in the same way, enlarged, and put where nothing was seen. No hole is too wide for it.

    Args:
        seen: colours times ``weight``, which is in [0, 1]; both (N, C, H, W).
    """
    if min(weight.shape[-2:]) < 2 or weight.shape[-1] % 2 or weight.shape[-2] % 2:
        mean = seen.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
        return seen + (1 - weight) * mean
    total = 4 * F.avg_pool2d(weight, 2)
    known = total.clamp(max=1)
    coarse = fill(4 * F.avg_pool2d(seen, 2) / total.clamp(min=1e-6) * known, known)
    return seen + (1 - weight) * F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)


def warm_start_loss(prediction: Prediction, x_0: Tensor) -> Tensor:
    """Gaussian negative log likelihoods, one value per image, (N,): of the mean, and of the spread given the mean.

    The mean is judged as if the image had one spread, the best for it: log(mean squared error) / 2. That is its PSNR
    but for sign and scale, so that hard and easy degradations weigh alike. The spread is judged pixel by pixel, and
    moves no mean. In the joint likelihood, which the paper has, pixels that are hard to predict hardly move the mean
    (Seitzer et al. 2203.09168, section 3); with the weights proposed there (beta-NLL, beta = 1/2) the mean of a toy
    problem, one colour in noise, still had 1.7 times the error after as many updates.
    """
    squared = (prediction.mean - x_0).square()
    variance = prediction.spread.square()
    of_mean = (squared.flatten(1).mean(1) + FLOOR**2).log() / 2
    return of_mean + negative_log_likelihood(squared.detach(), variance)


def negative_log_likelihood(squared: Tensor, variance: Tensor) -> Tensor:
    """Of errors, given squared, under N(0, variance), but for log(2 pi) / 2: the mean over the pixels of an image."""
    return ((variance.log() + squared / variance) / 2).flatten(1).mean(1)


# ---- Files --------------------------------------------------------------------------------------------------------


def checkpoint(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> bytes:
    """What a checkpoint file holds: the weights in half precision, and the configuration of the network."""
    # Half precision halves the file; the rounded weights are the definition, so nothing is lost by it.
    tensors = {key: value.half().contiguous().cpu() for key, value in weights.items()}
    return save(tensors, {"format": FORMAT, "model": json.dumps(config)})


class Config(Struct, forbid_unknown_fields=True):
    """The arguments of :class:`WarmStart`, as a checkpoint has them; far beyond what is trained, and built at once."""

    size: Annotated[int, Meta(ge=2, le=8192)]
    channels: Annotated[list[Annotated[int, Meta(ge=1, le=8192)]], Meta(min_length=1, max_length=16)]
    blocks: Annotated[int, Meta(ge=1, le=64)]


def read_record(path: Path) -> dict[str, Any]:
    """What made a checkpoint: the ``.json`` beside it, whose ``sha256`` the file has to have.

    Raises:
        InputError: one of the two is missing or damaged, or they do not belong together.
    """
    return read_weights_with_record(path, TrainedRecord, "warm start", VERB)[2]


def open_warm_start(path: Path, device: torch.device | str = "cpu") -> WarmStart:
    """The network that ``dipddpm train-warm-start`` wrote, ready to predict.

    Raises:
        InputError: the file is missing, is not what its record says, or is no warm start.
    """
    what = f"warm start {shown(path)}"
    read_record(path)
    metadata, tensors = open_tensors(path, what)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{what}: not written by {VERB}")
    config = read_document(metadata.get("model", ""), Config, f"{what}: its network")
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    model = WarmStart.with_weights(asdict(config), weights, what)
    return model.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()
