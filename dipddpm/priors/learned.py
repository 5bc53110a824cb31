"""learned: a network trained on the denoiser's own photographs says what the image is. The learned opponent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from dipddpm.batches import in_batches
from dipddpm.paths import given_path
from dipddpm.priors import ArmRole, Evidence, Prior
from dipddpm.tasks import Observation
from dipddpm.warm_start import Prediction, WarmStart, open_warm_start, read_record

SHIPPED = Path(__file__).with_name("learned.safetensors")
BATCH = 64  # images at once


class Learned(Prior):
    """Start from the mean of a warm-start regressor (Scholz & Turner 2507.09212), made to agree with y.

    Whoever has training images for a denoiser has them for this; a DIP has seen none. The mean enters as every other mu
    does. The published way trains a generator in coordinates of mean and spread; a given denoiser has no use for a
    spread of each pixel, only for one t0. The step that is as noisy as the spread is large suggests that t0; it adds
    none to those that validation images choose among, since it lies between them (25 to 50 for 70 % of the pixels
    missing, by spread and by error alike). The record of the checkpoint has spread, error and this step for each task.
    Of the shipped network 63 to 82 % of the errors are within one spread; the root mean square of the spread is 0.8 to
    1.5 times that of the error, but 2 to 3 times for `denoise_50` and `inpaint_box`, where few pixels get a far too
    large one.

    Args:
        checkpoint: what ``dipddpm train-warm-start`` wrote; None opens the one that ships with the package.

    Attributes:
        fingerprint: of the bytes of the checkpoint: another network is another prior.

    Raises:
        InputError: when it is asked for anything: the checkpoint or its record is missing or damaged.
    """

    name = "learned"
    role: ClassVar[ArmRole] = "control"
    learned: ClassVar[bool] = True

    def __init__(self, checkpoint: str | Path | None = None):
        path = given_path(checkpoint) if checkpoint else SHIPPED
        self.checkpoint, self.fingerprint = str(path), _fingerprint(path)

    @property
    def training_seconds(self) -> float:  # type: ignore[override]
        """Seconds that the training took, once."""
        return float(_record(self.checkpoint, self.fingerprint)["training_seconds"])

    def described(self) -> str:
        """The beginning of the fingerprint, for a network that does not ship."""
        return "" if self.checkpoint == str(SHIPPED) else self.fingerprint[:8]

    def applies(self, observation: Observation) -> bool:
        """For images of the size that it was trained on."""
        size = _record(self.checkpoint, self.fingerprint)["size"]
        return tuple(observation.pinv.shape[-2:]) == (size, size)

    def mu(self, evidence: Evidence) -> Tensor:
        return self.predict(evidence.observation).mean

    def predict(self, observation: Observation) -> Prediction:
        """The mean, made to agree with y and clipped to [-1, 1], and the spread: each (N, 3, H, W)."""
        size, device = observation.pinv.shape[-1], observation.y.device
        model = _opened(self.checkpoint, self.fingerprint, str(device))

        @torch.no_grad()
        def part(images: slice) -> Prediction:
            return model.predict([observation.part(images)])[0]

        parts = in_batches(f"learned prior ({size} px, {device.type})", len(observation.y), part, BATCH)
        mean, spread = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return Prediction(observation.consistent(mean.clamp(-1, 1)), spread)


def _fingerprint(path: Path) -> str:
    """Hash of a checkpoint; of nothing where there is none, which is an error when it is asked for an image."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


@cache
def _record(path: str, fingerprint: str) -> Mapping[str, Any]:
    """What made a file with this content."""
    return read_record(Path(path))


@cache
def _opened(path: str, fingerprint: str, device: str) -> WarmStart:
    """The network of a file with this content. It is kept here, since a prior is known by what it holds."""
    return open_warm_start(Path(path), device)
