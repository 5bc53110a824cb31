"""Priors for a whole set of images: made in batches, each stored once by its content, with what they cost.

What a network is trained with must be what it will be given: the prior of a *training* image is therefore made from a
degraded observation of it, by the same code and with the same settings as that of a test image. A DIP fitted to the
clean training image would be allowed (it is training data) and useless: at test time there is no clean image to fit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta, Struct, to_builtins
from safetensors.torch import save
from torch import Tensor

from dipddpm import dip, priors, tasks
from dipddpm.batches import ChargedClock
from dipddpm.data import to_float
from dipddpm.documents import Seconds, open_tensors, read_document
from dipddpm.errors import InputError
from dipddpm.fitting import stored_fit
from dipddpm.measure.files import write_atomically
from dipddpm.memo import Memo
from dipddpm.paths import shown
from dipddpm.priors import Evidence, Prior
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.tasks import Observation

FORMAT = "dipddpm-priors-3"


@dataclass(frozen=True)
class PriorSettings:
    """How the prior of an image is made from an observation of it.

    Attributes:
        prior: name of the prior. task: the degradation that is observed.
        architecture, iterations: of the DIP, for a prior that is fitted; a prior that takes one duration alone has it.
        seed: of the observations and the fits.
    """

    prior: str
    task: str
    architecture: str = ""
    iterations: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        kind = priors.prior(self.prior)
        for what, leak in (f"prior {self.prior!r}", kind.leak), (f"task {self.task!r}", tasks.task(self.task).leak):
            if leak != "none":
                raise InputError(f"{what} shows the photograph itself, which nobody has when the prior is needed")
        if kind.uses_dip:
            dip.architecture_class(self.architecture)
        if kind.iterations is not None:
            object.__setattr__(self, "iterations", kind.iterations)


@dataclass(frozen=True)
class PriorSet:
    """The priors of a set of images.

    Attributes:
        mu: (N, 3, H, W) in [-1, 1].
        keys: key of each image, in the same order.
        settings: how they were made.
        seconds: wall-clock of making them all; memory: peak bytes added.
    """

    mu: Tensor
    keys: tuple[str, ...]
    settings: PriorSettings
    seconds: float
    memory: int = 0

    def check(self, images: Tensor) -> None:
        """Raise InputError unless these are the priors of ``images`` (N, 3, H, W) uint8, in this order."""
        keys = tuple(image_keys(images))
        if keys != self.keys:
            shared = len(set(keys) & set(self.keys))
            raise InputError(
                f"these priors were made for other images: {len(self.keys)} of them, "
                f"of which {shared} are among the {len(keys)} given" + (" in another order" if shared else "")
            )

    def record(self) -> dict:
        """What a checkpoint says of the priors that it was trained with."""
        s = self.settings
        made = {"prior": s.prior, "task": s.task, "architecture": s.architecture, "iterations": s.iterations}
        return made | {"seed": s.seed, "images": hashlib.sha256("".join(self.keys).encode()).hexdigest()[:16]}

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        text = json.dumps({"settings": asdict(self.settings), "keys": self.keys, "seconds": self.seconds})
        mu = self.mu.cpu().contiguous()
        data = save({"mu": mu}, {"format": FORMAT, "made": text, "sha256": _checksum(mu, text)})
        write_atomically(path, lambda partial: partial.write_bytes(data))

    @classmethod
    def load(cls, path: Path, settings: PriorSettings | None = None) -> PriorSet:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, not a prior store, not what was written, or one whose priors were not made with
                ``settings``.
        """
        what = f"prior store {shown(path)}"
        metadata, tensors = open_tensors(path, what)
        written, mu = metadata.get("made", ""), tensors.get("mu")
        if mu is None or metadata.get("format") != FORMAT or metadata.get("sha256") != _checksum(mu, written):
            again = "delete it, and it is made again from the stored batches"
            raise InputError(f"{what} is damaged or of an older version: {again}")
        made = read_document(written, _Made, what)
        found = PriorSettings(**to_builtins(made.settings))
        if mu.dtype != torch.float32 or mu.ndim != 4 or len(mu) != len(made.keys) or mu.shape[1] != 3:
            raise InputError(f"{what}: holds no ({len(made.keys)}, 3, H, W) float32 images; the file is damaged")
        if not bool(mu.isfinite().all()):
            raise InputError(f"{what}: holds NaN or infinity; the file is damaged")
        stored = cls(mu, tuple(made.keys), found, made.seconds)
        if settings and found != settings:
            raise InputError(f"prior store {path} holds priors of {found}; asked for are those of {settings}")
        return stored


def _checksum(mu: Tensor, made: str) -> str:
    """Of all that a prior store says."""
    made += f"{mu.dtype} {tuple(mu.shape)}"
    return hashlib.sha256(made.encode() + mu.contiguous().numpy().tobytes()).hexdigest()


class _Settings(Struct, forbid_unknown_fields=True):
    """:class:`PriorSettings` as a file holds them."""

    prior: str
    task: str
    architecture: str
    iterations: Annotated[int, Meta(ge=0, le=10**9)]
    seed: int


class _Made(Struct, forbid_unknown_fields=True):
    """What a file of priors says of them."""

    settings: _Settings
    keys: list[str]
    seconds: Seconds


def observe(images: Tensor, task: str, seed: int, device: torch.device | str) -> Observation:
    """The observations of uint8 images (N, 3, H, W): each has its own generator, as in every experiment."""
    rng = ImageRng.for_images(image_keys(images), seed, task, "observe")
    return tasks.task(task).observe(to_float(images), rng).to(device)


def make_prior(prior: Prior, evidence: Evidence, clock: Callable[[], float]) -> dict[str, object]:
    """The prior images of some observations, and the seconds that making them took, a DIP fit not included.

    Raises:
        InputError: the prior is no image.
    """
    started = clock()
    mu = prior.mu(evidence)
    if mu is None:
        raise InputError(f"prior {prior.name!r} is no image: there is nothing to train with")
    return {"mu": mu, "seconds": clock() - started}


def make_priors(
    images: Tensor,
    settings: PriorSettings,
    memo: Memo,
    *,
    device: torch.device | str = "cpu",
    batch: int = 64,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], object] = lambda count: None,
) -> PriorSet:
    """The priors of uint8 ``images`` (N, 3, H, W), ``batch`` at once.

    Each batch is stored when it is done: a run that was killed goes on at the next one, and a set that grew computes
    what is new.

    Args:
        memo: finds or computes and stores.
        clock: seconds; should wait for the device.
        progress: called with the number of images in each batch that is done.

    Raises:
        InputError: the prior makes no image of an observation like these.
    """
    prior, clock, seconds, memory = priors.prior(settings.prior), ChargedClock(clock), 0.0, 0
    made: list[Tensor] = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        before = int(prior.pairs and len(chunk) < len(images))
        if before:  # the DIP that the first image is given comes along, so that the batch decides nothing
            chunk = torch.cat([images[[start - 1]], chunk])
        keys, size = image_keys(chunk), chunk.shape[-1]
        observation = observe(chunk, settings.task, settings.seed, device)
        if not prior.applies(observation):
            raise InputError(f"prior {settings.prior!r} does not apply to task {settings.task!r}")
        evidence = Evidence(observation)
        if prior.uses_dip:
            seeds = [seed_for(settings.seed, settings.task, "dip", key) for key in keys]
            architecture = dip.architecture_class(settings.architecture)
            found = stored_fit(
                memo, architecture, observation, seeds, iterations=[settings.iterations], size=size, clock=clock
            )
            evidence = Evidence(observation, found.fit.mu(settings.iterations))
            seconds, memory = seconds + found.fit.seconds[-1], max(memory, found.memory)
        entry = memo(make_prior, {"prior": prior, "evidence": evidence}, aside={"clock": clock})
        made.append(entry.value["mu"][before:].cpu())
        seconds, memory = seconds + entry.value["seconds"], max(memory, entry.memory)
        progress(len(chunk) - before)
    return PriorSet(torch.cat(made), tuple(image_keys(images)), settings, seconds, memory)
