"""The base of feature extractors, each a network that torch-fidelity knows by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from dipddpm.batches import in_batches, joined
from dipddpm.errors import InputError


class Extractor(FeatureExtractorBase, ABC):
    """A network from uint8 images to ``width`` features.

    The arguments are those that torch-fidelity passes, in its order; each has a default, so that ``Extractor()`` works.

    Args:
        name: the name in torch-fidelity's registry; None takes the class's own.
        features_list: which of the network's outputs; None takes the one for population metrics.
        feature_extractor_weights_path: a file of weights; None takes the usual one.
    """

    name: str
    width: ClassVar[int]
    fingerprint: str
    """SHA-256 of the weights: part of every cache key and of every record."""
    gives_fid: bool = False
    """True only where these weights make a Frechet distance an FID; titles follow it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls) and cls.name not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(cls.name, cls)

    @abstractmethod
    def __init__(
        self,
        name: str | None = None,
        features_list: list[str] | None = None,
        feature_extractor_weights_path: str | Path | None = None,
        **kwargs: Any,
    ): ...

    @torch.no_grad()
    def features(self, images: Tensor, batch: int | None = None) -> Tensor:
        """Features of images, on the device that the extractor stands on, in batches.

        Args:
            images: (N, 3, H, W) uint8 in [0, 255].
            batch: images at once; None: 512 on a GPU, 32 on a CPU, whose cache the activations of more would leave.

        Returns:
            (N, width) float32, on the CPU.

        Raises:
            InputError: other type or shape, or no image at all.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise InputError(
                f"{self.name}: takes (N, 3, H, W) uint8 images, got {tuple(images.shape)} of {images.dtype}"
            )
        device = next(self.parameters()).device
        batch = batch or (512 if device.type == "cuda" else 32)
        stage = f"features ({self.name}, images of {images.shape[-1]} px, {device.type})"

        def part(some: slice) -> Tensor:
            return self(images[some].to(device))[0].float().cpu()

        return joined(in_batches(stage, len(images), part, batch))


class OneLayerExtractor(Extractor, ABC):
    """An extractor with a single output, which is named by its width, as torch-fidelity asks about it.

    Class attributes:
        size: of the square images that its network sees.
    """

    size: ClassVar[int]

    @classmethod
    def get_provided_features_list(cls) -> tuple[str, ...]:
        return (str(cls.width),)

    @classmethod
    def get_default_feature_layer_for_metric(cls, metric: str) -> str:
        return str(cls.width)

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @classmethod
    def get_dummy_input_for_compile(cls) -> Tensor:
        return torch.zeros(1, 3, cls.size, cls.size, dtype=torch.uint8)
