"""ST-LPIPS: how different two images look, by features that a shift of a pixel does not change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.metrics import CHUNK, Metric
from dipddpm.wheels import WheelWeights

WEIGHTS = WheelWeights(
    package="stlpips_pytorch",
    file="weights/vST0.0/alex_shift_tolerant.pth",
    sha256="b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
    distribution="stlpips-pytorch==0.0.2",
)
SIDE = 128  # px: the deepest features see 101 px, three times what an image of 32 px has
PHOTOGRAPHS = 128  # whose features are kept, 2.6 MB each for 32 px: settings are tuned against the same few
CONVOLUTIONS = ("net.slice2.5", "net.slice3.9", "net.slice4.11", "net.slice5.13")  # after the first
POOLED_BEFORE = CONVOLUTIONS[:2]


class StLpips(Metric):
    """Shift-tolerant LPIPS (Ghildyal & Liu, ECCV 2022, arXiv 2207.13686), the AlexNet variant with its own weights.

    Five layers of features, each scaled to length 1 at every position; the squared differences are weighted by channel
    as people judged, averaged over positions and summed over layers (Zhang et al. 2018, arXiv 1801.03924, section 3).
    What makes it tolerant of shifts: every stride blurs before it samples. The weights are BSD-2; the code here is
    ours.

    Equal to the authors' package on images enlarged likewise. On a CPU the value of an image is the same bit for bit
    in any batch; on a GPU to rounding.

    Raises:
        InputError: images that are not pairs of (N, 3, H, W), or weights that are missing or damaged.
    """

    name = "st_lpips"
    unit = ""
    definition = (
        "ST-LPIPS (Ghildyal & Liu 2022), AlexNet, weights ST0.0; images clipped to [-1, 1] and enlarged bilinearly by "
        "the smallest whole factor that makes the shorter side at least 128 px (x4 from 32 px)"
    )
    higher_is_better = False
    perceptual = True

    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        if x_hat.shape != x_0.shape or x_0.ndim != 4 or x_0.shape[1] != 3:
            raise InputError(
                f"{self.name}: takes pairs of (N, 3, H, W) images, got {tuple(x_hat.shape)} and {tuple(x_0.shape)}"
            )
        # One image at a time gives it the same bits in any batch, and on a CPU takes 1.2 times as long as twelve do.
        size = CHUNK if x_0.device.type == "cuda" else 1
        with torch.no_grad(), _full_precision():
            parts = zip(x_hat.float().split(size), x_0.float().cpu().split(size), strict=True)
            return torch.cat([_distance(part, _photographs(of, part.device)) for part, of in parts])

    def check(self) -> None:
        _network(torch.device("cpu"))


def _distance(x_hat: Tensor, photographs: Sequence[Tensor]) -> Tensor:
    """(N,) for images and the features of their photographs."""
    layers = zip(_features(x_hat.clamp(-1, 1)), photographs, _network(x_hat.device).judged, strict=True)
    return torch.stack([((a - b).square_() @ weight).mean(1) for a, b, weight in layers]).sum(0)


def _photographs(x_0: Tensor, device: torch.device) -> list[Tensor]:
    """The features of photographs (N, 3, H, W), each computed alone and kept by its content."""
    found = [_photograph(x.contiguous().numpy().tobytes(), tuple(x.shape), device) for x in x_0]
    return [torch.cat(layer) for layer in zip(*found, strict=True)] if len(found) > 1 else list(found[0])


@lru_cache(maxsize=PHOTOGRAPHS)
def _photograph(content: bytes, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
    x = torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(1, *shape)
    return tuple(_features(x.to(device).clamp(-1, 1)))


# ---- the network ----------------------------------------------------------------------------------------------------


class Network(NamedTuple):
    """The weights, on one device.

    Attributes:
        first: kernel (64, 3, 11, 11) and bias of the first convolution.
        rest: kernel and bias of the others.
        judged: (C,) per layer, what a squared difference in each channel counts.
        shift, scale: (1, 3, 1, 1), what inputs are normalised with.
    """

    first: tuple[Tensor, Tensor]
    rest: Sequence[tuple[Tensor, Tensor]]
    judged: Sequence[Tensor]
    shift: Tensor
    scale: Tensor


@lru_cache(maxsize=4)
def _network(device: torch.device) -> Network:
    found = {key: value.to(device) for key, value in WEIGHTS.read("metric st_lpips").items()}

    def convolution(name: str) -> tuple[Tensor, Tensor]:
        return found[f"{name}.weight"].contiguous(memory_format=torch.channels_last), found[f"{name}.bias"]

    return Network(
        first=(found["net.slice1.0.weight"], found["net.slice1.0.bias"]),
        rest=[convolution(name) for name in CONVOLUTIONS],
        judged=[found[f"lin{i}.model.1.weight"].flatten() for i in range(5)],
        shift=found["scaling_layer.shift"],
        scale=found["scaling_layer.scale"],
    )


def _features(x: Tensor) -> list[Tensor]:
    """(N, H * W, C) per layer, of length 1 at every position, for images (N, 3, H, W) in [-1, 1]."""
    network = _network(x.device)
    x = _first_layer((x - network.shift) / network.scale)
    layers = [x]
    for name, (kernel, bias) in zip(CONVOLUTIONS, network.rest, strict=True):
        if name in POOLED_BEFORE:
            x = _pooled(x)
        x = F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2).relu_()
        layers.append(x)
    flat = [layer.permute(0, 2, 3, 1).flatten(1, 2) for layer in layers]
    return [layer / (torch.linalg.vector_norm(layer, dim=-1, keepdim=True) + 1e-10) for layer in flat]


def _pooled(x: Tensor) -> Tensor:
    """Every second pixel of (N, C, H, W) after the maximum of 3 x 3 and a blur, the borders of the blur reflected."""
    x = torch.maximum(torch.maximum(x[:, :, :-2], x[:, :, 1:-1]), x[:, :, 2:])  # takes half as long as max_pool2d
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:])
    kernel = torch.outer(_blur(x.device), _blur(x.device)).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


def _blur(device: torch.device) -> Tensor:
    return torch.tensor([0.25, 0.5, 0.25], device=device)


# ---- its first layer, fused -----------------------------------------------------------------------------------------
# Enlarging, the convolution of 11 x 11 with stride 1 and the blurred stride after it are linear, so that together they
# are one convolution on the image as it is: 5 x 5 for x4, where each of four phases of the output has its own kernel.
# That is 19 million multiplications in place of 346, of the network's 1,190 in all. Towards the borders,
# where zeros are padded before the convolution and the blur reflects, each row and column has a kernel of its own.


class Stretch(NamedTuple):
    """Outputs along one axis that share a kernel.

    Attributes:
        outputs: which ones. starts: the first pixel that each sees, of an image padded by one pixel on each side.
        taps: (pixels, 11), what an output sees of the pixels from its first one on through each tap of the kernel.
    """

    outputs: slice
    starts: slice
    taps: Tensor


def _first_layer(x: Tensor) -> Tensor:
    """(N, 64, H', W'), channels last: enlarge, convolve, blur and stride, ReLU."""
    stretches, kernels = _fused(x.shape[-2], x.shape[-1], x.device)
    bias = _network(x.device).first[1]
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")  # the border of a bilinear enlargement
    pixels = len(stretches[0][0].taps)
    windows = x.permute(0, 2, 3, 1).contiguous().unfold(1, pixels, 1).unfold(2, pixels, 1).permute(0, 1, 2, 4, 5, 3)
    height, width = (max(s.outputs.stop for s in axis) for axis in stretches)
    made = x.new_empty(len(x), height, width, len(bias))
    for row, of_row in zip(stretches[0], kernels, strict=True):
        for column, kernel in zip(stretches[1], of_row, strict=True):
            seen = windows[:, row.starts, column.starts]
            made[:, row.outputs, column.outputs] = seen.flatten(3) @ kernel
    return made.add_(bias).relu_().permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _fused(height: int, width: int, device: torch.device) -> tuple[list[list[Stretch]], list[list[Tensor]]]:
    """Stretches of rows and of columns, and for each pair of them a kernel (pixels * pixels * 3, 64)."""
    factor = max(1, math.ceil(SIDE / min(height, width)))
    rows, columns = (_stretches(size, factor) for size in (height, width))
    first = _network(device).first[0].cpu().double()
    kernels = [[torch.einsum("oiyx,py,qx->pqio", first, row.taps, column.taps) for column in columns] for row in rows]
    return [rows, columns], [[kernel.flatten(0, 2).float().to(device) for kernel in of_row] for of_row in kernels]


def _stretches(size: int, factor: int) -> list[Stretch]:
    """Along an axis of ``size`` pixels: a stretch for each phase of the enlargement, and one for each output that
    sees beyond the border."""
    # What each output sees of each pixel through each tap, by doing to single bright pixels what is done to images.
    pixels = torch.eye(size + 2, dtype=torch.float64)[:, None]
    large = F.interpolate(pixels, scale_factor=factor, mode="linear", align_corners=False)[:, 0, factor:-factor]
    through = F.pad(large, (2, 2)).unfold(1, 11, 1)  # (pixels, positions, taps)
    reflected = F.pad(through.permute(0, 2, 1), (2, 2), mode="reflect").flatten(0, 1)[:, None]
    blurred = F.conv1d(reflected, _blur(torch.device("cpu")).double().expand(1, 1, 3), stride=2)
    seen = blurred.unflatten(0, (size + 2, 11))[:, :, 0].permute(2, 0, 1)  # (outputs, pixels, taps)
    # Output i sees 13 enlarged pixels from 2 i - 4 on, a phase later the same ones so many pixels further.
    last, phases, step = (size * factor - 9) // 2, factor // math.gcd(2, factor), 2 // math.gcd(2, factor)
    lit = seen.abs().sum(2) > 0
    width = int(lit[2 : last + 1].sum(1).max())

    def stretch(i: int, count: int) -> Stretch:
        start = min(int(lit[i].nonzero()[0]), size + 2 - width)
        starts = slice(start, start + (count - 1) * step + 1, step)
        return Stretch(slice(i, i + (count - 1) * phases + 1, phases), starts, seen[i, start : start + width])

    inside = [stretch(i, (last - i) // phases + 1) for i in range(2, 2 + phases)]
    return inside + [stretch(i, 1) for i in (0, 1, *range(last + 1, len(seen)))]


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions on a GPU in float32 proper, whatever is allowed elsewhere: TF32 rounds to three digits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
