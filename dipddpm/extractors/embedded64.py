"""embedded64: a small network trained by the project itself, so that population metrics need no download.

Its 64 features are the activations before the classifier, averaged over positions, as Inception's pool3 are. With 64 of
them a Frechet distance is defined from 65 images on, where Inception's 2048 need thousands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase

from dipddpm.documents import WeightsRecord, check_weights, read_weights_with_record, tensors_of
from dipddpm.extractors.base import OneLayerExtractor
from dipddpm.paths import shown

SHIPPED = Path(__file__).with_name("embedded64.safetensors")
WIDTH = 64
SIZE = 32


def block(in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """x + two blocks of it (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.blocks = nn.Sequential(block(channels, channels), block(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.blocks(x)


class Embedding(nn.Module):
    """The network: (N, 3, 32, 32) in [-1, 1] -> (N, 64). 0.48 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            block(3, 32),
            block(32, 64, stride=2),
            Residual(64),
            block(64, 128, stride=2),
            Residual(128),
            block(128, WIDTH, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


def checkpoint(weights: Mapping[str, Tensor]) -> bytes:
    """What a checkpoint file holds: the weights in half precision."""
    # Half precision halves the file; the rounded weights are the definition, so nothing is lost by it.
    tensors = {key: (v.half() if v.is_floating_point() else v).contiguous().cpu() for key, v in weights.items()}
    return save_safetensors(tensors, {"format": "dipddpm-embedded64-1"})


class Embedded64(OneLayerExtractor):
    """Features of the shipped network, or of one that ``dipddpm train-extractor`` wrote.

    Images of another size are resized to 32 px first (bilinear, antialiased), as Inception's are to 299. Weights other
    than the shipped ones carry the beginning of their hash in the name: distances under the two are not comparable.

    Raises:
        InputError: the file or its record is missing, is not what the record says, or is another network's.
    """

    name = "embedded64"
    width, size = WIDTH, SIZE

    def __init__(
        self,
        name: str | None = None,
        features_list: list[str] | None = None,
        feature_extractor_weights_path: str | Path | None = None,
        **kwargs: Any,
    ):
        path = Path(feature_extractor_weights_path or SHIPPED)
        weights, digest = _read(path)
        own = self.name if path.resolve() == SHIPPED.resolve() else f"{self.name}-{digest[:8]}"
        FeatureExtractorBase.__init__(self, name or own, features_list or [str(WIDTH)])
        self.fingerprint = digest
        self.embedding = Embedding()
        check_weights(self.embedding, weights, f"extractor {shown(path)}")
        self.embedding.load_state_dict(weights)
        self.embedding.to(memory_format=torch.channels_last)  # once, as the images are: else anew at every batch
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) uint8 -> ((N, 64),)."""
        return (self.embedding(prepare(images).contiguous(memory_format=torch.channels_last)),)


def prepare(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 32, 32) in [-1, 1]."""
    x = images.float() / 127.5 - 1
    if x.shape[-2:] != (SIZE, SIZE):
        x = F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return x


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of a file whose hash is the one on record, and that hash."""
    data, record, _ = read_weights_with_record(path, WeightsRecord, "extractor", "`dipddpm train-extractor`")
    return tensors_of(data, f"extractor {shown(path)}"), record.sha256
