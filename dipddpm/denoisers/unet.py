"""unet: the project's own checkpoint format, safetensors with a JSON record of what made it beside it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from dipddpm.denoisers import Denoiser, known_by
from dipddpm.denoisers.evaluation import Network
from dipddpm.device import chosen_precision
from dipddpm.documents import open_tensors, read_document
from dipddpm.errors import InputError
from dipddpm.injection import Injection, check_trained_for
from dipddpm.injection import injection as injection_named
from dipddpm.paths import given_path, shown
from dipddpm.schedule import Schedule
from dipddpm.unet import UNet

LONGEST = 100_000
"""Steps that the schedule of a checkpoint may have."""
SHIPPED = "reference"
WEAKER = ("early", "middle")  # states of the same training run, shipped too: how strong a denoiser is is an axis


def checkpoint(weights: Mapping[str, Tensor], record: Mapping) -> bytes:
    """What a checkpoint file holds: the weights, and of the record what is needed to use them, which is the U-Net's
    configuration, the length of the schedule, the injection it was trained with and how its priors were made."""
    metadata = {"unet": json.dumps(record["model"]), "T": str(record["T"]), "format": "dipddpm-unet-1"}
    metadata |= {"injection": record.get("injection", "none"), "priors": json.dumps(record.get("priors"))}
    return save({k: v.float().contiguous().cpu() for k, v in weights.items()}, metadata)


def fingerprint(model: UNet, T: int, injection: str) -> str:
    """Hash of the weights by value and of all else that decides the output: the same for every copy of a checkpoint,
    whatever order its file has them in."""
    sha = hashlib.sha256(json.dumps([model.config, T, injection], sort_keys=True).encode())
    for name, weight in sorted(model.state_dict().items()):
        sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        sha.update(weight.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def _check_sum(path: Path, what: str) -> None:
    """Raise InputError unless a checkpoint is what its record says; one without a record is taken as it is."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        stated = record["sha256"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return  # what opens it says why
    if found != stated:
        raise InputError(f"{what}: sha256 is {found[:16]}..., its record {path.stem}.json says {str(stated)[:16]}...")


def _read_metadata(metadata: Mapping[str, str], what: str) -> tuple[dict[str, Any], Injection, int]:
    """The configuration of the U-Net, whose values its constructor checks, the injection and the number of steps.

    Raises:
        InputError: one of them is missing or damaged; the message begins with ``what``.
    """
    if "unet" not in metadata:
        raise InputError(f"{what}: not written by `dipddpm train` (it carries no U-Net configuration)")
    config = read_document(metadata["unet"], dict[str, Any], f"{what}: its U-Net configuration")
    known = inspect.signature(UNet).parameters
    if not set(config) <= set(known):
        raise InputError(f"{what}: its U-Net configuration must hold {', '.join(known)} alone: the file is damaged")
    if missing := [name for name in known if name not in config]:
        raise InputError(f"{what}: its U-Net configuration lacks {', '.join(missing)}: the file is damaged")
    T = metadata.get("T", "")
    if not (T.isascii() and T.isdecimal() and len(T) <= len(str(LONGEST)) and 1 <= int(T) <= LONGEST):
        raise InputError(f"{what}: T must be a whole number from 1 to {LONGEST}, it is {T[:20]!r}: the file is damaged")
    try:
        return config, injection_named(metadata.get("injection", "none")), int(T)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


class UNetDenoiser(Denoiser):
    """A checkpoint written by ``dipddpm train``: a file, or one of the shipped ones, ``reference`` unless named.

    Args:
        injection: name of the injection that it is to serve, which must be the one it was trained with if either shows
            the network a prior.
        precision, compiled: as :func:`open_denoiser` takes them. In ``bf16`` the weights stay float32 and autocast
            rounds the inputs of products.
    """

    name = "unet"
    takes_precision = True
    is_shipped: bool = False
    """It is the strongest shipped checkpoint."""

    def __init__(
        self, location: str | None = None, device: torch.device | str = "cpu", injection: str = "none", *,
        precision: str = "", compiled: bool = False,
    ):  # fmt: skip
        location = location or SHIPPED
        self.is_shipped = location == SHIPPED
        shipped = location in (SHIPPED, *WEAKER)
        path = Path(__file__).with_name(f"{location}.safetensors") if shipped else given_path(location)
        what = f"checkpoint {shown(path)}"
        _check_sum(path, what)
        metadata, tensors = open_tensors(path, what)
        weights = {name: tensor.float() for name, tensor in tensors.items()}
        config, made, T = _read_metadata(metadata, what)
        check_trained_for(made, injection_named(injection), what)
        if config["in_channels"] != made.channels:
            takes, feeds = config["in_channels"], made.channels
            raise InputError(f"{what}: takes {takes} channels, injection {made.name!r} feeds {feeds}")
        model = UNet.with_weights(config, weights, what)
        self._take(model, Schedule.linear(T), made, fingerprint(model, T, made.name), device, precision, compiled)

    @classmethod
    def of(
        cls, model: UNet, schedule: Schedule, injection: Injection, fingerprint: str, device: torch.device | str,
        precision: str = "", compiled: bool = False,
    ) -> UNetDenoiser:  # fmt: skip
        """A network that is in memory. ``fingerprint`` must change whenever its weights do."""
        made = cls.__new__(cls)
        made._take(model, schedule, injection, fingerprint, device, precision, compiled)
        return made

    def _take(
        self, model: UNet, schedule: Schedule, injection: Injection, fingerprint: str, device: torch.device | str,
        precision: str, compiled: bool,
    ) -> None:  # fmt: skip
        self.config, self.size, self.schedule = model.config, model.config["size"], schedule
        self.injection, self.device = injection, torch.device(device)
        self.precision, self.compiled = chosen_precision(precision, device), compiled
        self.fingerprint = known_by(fingerprint, self.precision, compiled)
        self._network = Network(model, self.device, self.precision, compiled=compiled)

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        return self._network(x_t, t)
