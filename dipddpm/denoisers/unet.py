"""unet: the project's own checkpoint format, safetensors with a JSON record of what made it beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.schedule import Schedule
from dipddpm.unet import UNet

SHIPPED = "reference"
WEAKER = ("early", "middle")  # states of the same training run, shipped too: how strong a denoiser is is an axis


def save_checkpoint(path: Path, weights: dict[str, Tensor], record: dict) -> None:
    """Write ``path`` and ``path.json``, each in one atomic step. The U-Net's configuration goes inside the file."""
    metadata = {"unet": json.dumps(record["model"]), "T": str(record["T"]), "format": "dipddpm-unet-1"}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({k: v.float().contiguous().cpu() for k, v in weights.items()}, partial, metadata)
    partial.replace(path)
    partial.write_text(json.dumps(record | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}, indent=1))
    partial.replace(path.with_suffix(".json"))


class UNetDenoiser(Denoiser):
    """A checkpoint written by ``dipddpm train``: a file, or one of the shipped ones, ``reference`` unless named."""

    name = "unet"

    def __init__(self, location: str | None = None, device: torch.device | str = "cpu"):
        location = location or SHIPPED
        shipped = location in (SHIPPED, *WEAKER)
        path = Path(__file__).with_name(f"{location}.safetensors") if shipped else Path(location)
        try:
            with safe_open(path, "pt") as opened:
                metadata = opened.metadata() or {}
                weights = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise InputError(f"checkpoint {path}: no such file") from error
        except (SafetensorError, OSError) as error:
            raise InputError(f"checkpoint {path}: not a safetensors file ({error})") from error
        if "unet" not in metadata:
            raise InputError(f"checkpoint {path}: not written by `dipddpm train` (it carries no U-Net configuration)")
        self.config = json.loads(metadata["unet"])
        model = UNet(**self.config)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()  # torch lists every key; one tells enough
            raise InputError(f"checkpoint {path}: shapes differ from its U-Net {self.config}: {first}") from error
        if self.config["in_channels"] != 3:
            raise InputError(f"checkpoint {path}: takes {self.config['in_channels']} channels, a denoiser takes 3")
        self.schedule = Schedule.linear(int(metadata["T"]))
        self.size = self.config["size"]
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self.device = torch.device(device)
        self._model = model.to(self.device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        return self._model(x_t, torch.full((len(x_t),), t, device=x_t.device))
