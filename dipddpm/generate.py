"""Unconditional samples, streamed to a folder in shards: to rounding the same in any batch, resumed after a kill."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct, convert
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dipddpm.batches import ChargedClock
from dipddpm.data import to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.documents import Seconds, read_document
from dipddpm.errors import InputError
from dipddpm.measure.files import is_partial, write_atomically, write_json
from dipddpm.paths import shown
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng, seed_for
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity

NOTHING = Observation(torch.empty(0), Identity(), consistency="none")
"""What an unconditional sample is held to."""
MANIFEST = "manifest.json"
FORMAT = "dipddpm-images-2"
DIGITS = "[0-9]" * 8

Mu = Callable[[range], Tensor]
"""The priors, (n, 3, H, W) in [-1, 1], of a range of images."""


class DamagedImages(UserWarning):
    """Images in a folder are not what was written."""


class Diverged(InputError):
    """Samples that are not finite: of a denoiser or a prior that diverges under these settings."""


def sample_images(
    denoiser: Denoiser, indices: range, setting: Setting, mu: Tensor | None = None, seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, int]:  # fmt: skip
    """The images of a population with these indices, all in one batch.

    Image i draws all its noise from its own generator, seeded by ``seed`` and i alone: it is the same in any batch, but
    for the rounding of the network, which may move a pixel by a level. Arms of one seed share their noise.

    Args:
        setting: how to sample; with ``nfe`` 0 the priors themselves are the images.
        mu: priors (len(indices), 3, H, W) in [-1, 1] for an injection that uses one.

    Returns:
        uint8 (len(indices), 3, H, W) on the CPU, and the network evaluations that each took.

    Raises:
        Diverged: an image came out not finite, which eight bits would show as black.
    """
    rng = ImageRng((seed_for(seed, "generate", i) for i in indices), device)
    x_0, nfe = restore(denoiser, NOTHING, None if mu is None else mu.to(device), setting, rng)
    if not bool((finite := torch.isfinite(x_0).flatten(1).all(dim=1)).all()):
        lost = [indices[i] for i in (~finite).nonzero().flatten().tolist()]
        named = ", ".join(map(str, lost[:5])) + ("..." if len(lost) > 5 else "")
        raise Diverged(f"{len(lost)} of {len(indices)} images diverged ({named}): nothing of their batch is kept")
    return to_uint8(x_0).cpu(), nfe


def generate(
    denoiser: Denoiser,
    count: int,
    folder: Path,
    setting: Setting,
    *,
    mu: Mu | None = None,
    prior: str = "",
    seed: int = 0,
    batch: int = 64,
    worker: tuple[int, int] = (0, 1),
    device: torch.device | str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    progress: bool = True,
) -> GeneratedImages:
    """Sample ``count`` images into ``folder``, a shard for each batch, written in one step when the batch is done.

    What the folder already holds is kept: a killed run goes on, a larger ``count`` adds to a smaller one, and the batch
    size may change on the way. One batch is in memory at a time.

    Args:
        setting: how to sample; ``start`` enters at ``t0`` (ES-DDPM, Lyu et al. 2205.12524), ``none`` at pure noise.
        mu: gives the priors of a range of images; wanted by every injection but ``none``.
        prior: what the priors are, in words or as a hash: a folder is of one kind of prior.
        seed: of all noise.
        batch: images sampled together.
        worker: (i, n): this is process i of n that share the folder, each with a device of its own, say.
        clock: seconds; should wait for the device.

    Returns:
        The images in the folder, of which other workers may still owe some.

    Raises:
        InputError: the folder holds images of another configuration, or other files; a prior that is missing,
            without a name, or of no use; a setting that the denoiser's schedule has no room for.
    """
    if count < 1 or batch < 1 or not 0 <= worker[0] < worker[1]:
        raise InputError(
            f"generate takes a count and a batch from 1, and a worker i of n; got {count}, {batch}, {worker}"
        )
    clock = ChargedClock(clock)
    _check_prior(setting, mu, prior)
    setting.check(denoiser.schedule)
    config = {"denoiser": denoiser.fingerprint, "size": denoiser.size, "prior": prior, "seed": seed}
    _claim(folder, config | setting.axes(), alone=worker[1] == 1)
    covered, written = _covered(folder, count), 0
    with tqdm(
        total=count, initial=sum(covered), unit="image", mininterval=2, dynamic_ncols=True, file=sys.stderr,
        disable=None if progress else True,
    ) as bar:  # fmt: skip
        for indices in _missing(covered, batch, worker):
            priors = mu(indices) if mu else None
            started = clock()
            images, nfe = sample_images(denoiser, indices, setting, priors, seed, device)
            facts = {"seconds": repr(clock() - started), "nfe": str(nfe)}
            path = folder / f"images-{indices.start:08d}-{indices.stop:08d}.safetensors"
            data = save({"images": images}, facts | {"sha256": _checksum(images, facts)})
            write_atomically(path, partial(Path.write_bytes, data=data))
            written += len(indices)
            bar.update(len(indices))
    there = GeneratedImages(folder, count if worker[1] == 1 else None)
    there.written = written
    return there


def _check_prior(setting: Setting, mu: Mu | None, prior: str) -> None:
    wanted = setting.injection.uses_mu or setting.nfe == 0
    if wanted != (mu is not None) or (mu is not None) != bool(prior):
        raise InputError(
            f"injection {setting.injection.name!r} at {setting.nfe} evaluations takes {'a' if wanted else 'no'} prior "
            f"(mu, and what it is); got {prior or 'none'}"
        )
    if setting.nfe and setting.t0 is None and not setting.injection.starts_at_T:
        raise InputError(f"injection {setting.injection.name!r} needs t0, the step to enter at")


def _claim(folder: Path, config: Mapping[str, object], alone: bool) -> None:
    """Make the folder, or see that its images are of this configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    if alone:  # of several workers, another one may be writing them
        for path in [path for path in folder.iterdir() if is_partial(path)]:
            path.unlink()
    if any(_shards(folder)):
        held = _manifest(folder)
        other = [f"{key} {held.get(key)!r}, not {config[key]!r}" for key in config if held.get(key) != config[key]]
        if other:
            raise InputError(f"{folder} holds images of another configuration: {'; '.join(other)}; take another folder")
        return
    for path in folder.iterdir():
        if not (path.name.startswith(("images-", "manifest.")) or is_partial(path)):
            raise InputError(f"{folder} holds {path.name}: images go into a folder of their own")
    write_json(folder / MANIFEST, {"format": FORMAT, "config": config})


class _Manifest(Struct, forbid_unknown_fields=True):
    """What a folder says of its images: their format, and how they were made."""

    format: str
    config: dict[str, Any]


class _Facts(Struct):
    """What a shard says of its making."""

    seconds: Seconds
    nfe: Annotated[int, Meta(ge=0, le=10**9)]


def _manifest(folder: Path) -> dict:
    file = folder / MANIFEST
    try:
        text = file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{shown(folder)}: no {MANIFEST}, so no images that `dipddpm generate` wrote") from error
    except OSError as error:
        raise InputError(
            f"{shown(file)} cannot be read ({error.strerror}); delete it and the shards beside it"
        ) from error
    manifest = read_document(text, _Manifest, shown(file))
    if manifest.format != FORMAT:
        said = f"images in the format {manifest.format[:20]!r}"
        raise InputError(f"{shown(folder)}: {said}, this version reads {FORMAT}")
    return manifest.config


def _shards(folder: Path) -> Iterator[tuple[range, Path]]:
    """Every shard by its name, and the images that are in it."""
    for path in sorted(folder.glob(f"images-{DIGITS}-{DIGITS}.safetensors")):
        if indices := range(*map(int, path.stem.split("-")[1:])):
            yield indices, path


def _whole_shards(folder: Path) -> Iterator[tuple[range, Path, _Facts]]:
    """The shards that are what was written, and what each says of its making. Another one is named, and its images are
    as if they were not there."""
    for indices, path in _shards(folder):
        images, facts = _read_shard(path)
        if images is not None and facts is not None and images.shape[:2] == (len(indices), 3):
            yield indices, path, facts
        else:
            text = f"{path}: these images are not what was written; `dipddpm generate` samples them again"
            warnings.warn_explicit(text, DamagedImages, __name__, 0)


def _read_shard(path: Path) -> tuple[Tensor | None, _Facts | None]:
    """The images of a shard and what it says of their making; nothing if they are not what was written."""
    try:
        with safe_open(path, "pt") as opened:
            images, facts = opened.get_tensor("images"), opened.metadata() or {}
        told = convert(facts, _Facts, strict=False)
    except (SafetensorError, OSError, ValueError):
        return None, None
    whole = images.dtype == torch.uint8 and images.ndim == 4 and facts.get("sha256") == _checksum(images, facts)
    return (images, told) if whole else (None, None)


def _checksum(images: Tensor, facts: Mapping[str, str]) -> str:
    """Of all that a shard says."""
    told = {name: text for name, text in facts.items() if name != "sha256"}
    text = json.dumps([told, str(images.dtype), list(images.shape)], sort_keys=True)
    return hashlib.sha256(text.encode() + images.contiguous().numpy().tobytes()).hexdigest()


def _covered(folder: Path, count: int) -> list[bool]:
    covered = [False] * count
    for indices, _, _ in _whole_shards(folder):
        for i in indices[: max(0, count - indices.start)]:
            covered[i] = True
    return covered


def _missing(covered: list[bool], batch: int, worker: tuple[int, int]) -> Iterator[range]:
    """Ranges of images that are not there, cut where a new folder would be cut, so that workers agree on the cuts."""
    for start in range(worker[0] * batch, len(covered), worker[1] * batch):
        cell = range(start, min(start + batch, len(covered)))
        for there, run in groupby(cell, key=covered.__getitem__):
            if not there:
                indices = list(run)
                yield range(indices[0], indices[-1] + 1)


class GeneratedImages(Dataset):
    """The images of a folder that :func:`generate` wrote, each (3, H, W) uint8: what torch-fidelity takes as input.

    Args:
        count: the first so many; None for all without a gap.

    Attributes:
        config: how they were made.
        seconds: wall-clock of the sampling, over all runs that made them, priors excluded; nfe: evaluations per image.
        written: images that the call of :func:`generate` wrote which gave these.

    Raises:
        InputError: no such folder, or fewer images in it.
    """

    def __init__(self, folder: Path, count: int | None = None):
        self.config = _manifest(folder)
        self._where: list[tuple[Path, int]] = []
        self.seconds, self.nfe, self.written = 0.0, 0, 0
        self._open: tuple[Path, Tensor] | None = None
        for indices, path, facts in _whole_shards(folder):
            new = [(path, i - indices.start) for i in indices if i >= len(self._where)]
            if indices.start > len(self._where) or not new:
                continue
            used = new if count is None else new[: count - len(self._where)]
            self._where += used
            self.seconds += facts.seconds * len(used) / len(indices)
            self.nfe = facts.nfe
        if count is not None and len(self) < count:
            raise InputError(f"{folder} holds {len(self)} of {count} images: run `dipddpm generate` on it again")

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, i: int) -> Tensor:
        path, at = self._where[i]
        if self._open is None or self._open[0] != path:
            if (images := _read_shard(path)[0]) is None:
                raise InputError(f"{path}: is no longer what was written: run `dipddpm generate` again")
            self._open = path, images
        return self._open[1][at]

    def tensor(self, indices: range | None = None) -> Tensor:
        """The images of a range, all by default, as one tensor (n, 3, H, W) uint8."""
        return torch.stack([self[i] for i in indices or range(len(self))])
