"""diffusers: any pipeline of the library diffusers whose network is a UNet2DModel, by folder or by hub name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser, known_by
from dipddpm.denoisers.evaluation import Network
from dipddpm.device import chosen_precision
from dipddpm.errors import InputError
from dipddpm.schedule import Schedule

PREDICTIONS = ("epsilon", "v_prediction", "sample")
INDEX = "model_index.json"


class DiffusersDenoiser(Denoiser):
    """An unconditional pixel-space DDPM as ``DDPMPipeline.save_pretrained`` writes it, such as google/ddpm-cifar10-32.

    Of its scheduler it takes what the network was trained for: the betas, what the network predicts, and whether the
    predicted x_0 is clipped. Which steps are visited, and how, is up to our samplers. Of one that predicts its variance
    too (six channels), the mean is used and the variance is not.

    Args:
        location: a folder, or else the name of a repository on the Hugging Face hub (downloaded once, then cached).
        precision, compiled: as :func:`open_denoiser` takes them. In ``bf16`` the weights themselves are bfloat16.

    Raises:
        InputError: diffusers is not installed; no such folder, and no such repository or no network; the pipeline has
            no UNet2DModel; it is conditional, not RGB, or not square; its scheduler is none of a DDPM.
    """

    name = "diffusers"
    takes_precision = True

    def __init__(
        self, location: str | None = None, device: torch.device | str = "cpu", *, precision: str = "",
        compiled: bool = False,
    ):  # fmt: skip
        if not location:
            raise InputError("the denoiser diffusers needs a location: write diffusers:FOLDER or diffusers:OWNER/NAME")
        try:
            # Here, and not above: the library is an extra, and importing it takes seconds.
            import diffusers
        except ImportError as error:
            raise InputError(
                f"the denoiser diffusers:{location} needs the library: pip install dipddpm[diffusers]"
            ) from error
        self.label = f"diffusers:{location}"
        folder = self._folder(diffusers, location)
        index = self._index(folder / INDEX)
        # low_cpu_mem_usage: its default warns where another library, accelerate, is not installed.
        unet = self._load(diffusers.UNet2DModel, folder, "unet", low_cpu_mem_usage=False).float()
        self._check_network(unet.config)
        scheduler = self._load(self._scheduler_class(diffusers, index), folder, "scheduler")
        config = scheduler.config

        self.prediction = config.get("prediction_type", "epsilon")
        if self.prediction not in PREDICTIONS:
            raise self._error(f"its network predicts {self.prediction!r}: known are {', '.join(PREDICTIONS)}")
        if config.get("thresholding"):
            raise self._error("its scheduler thresholds dynamically, which no sampler here does")
        if unet.config.out_channels == 6 and not str(config.get("variance_type")).startswith("learned"):
            raise self._error("its network has 6 outputs, but its scheduler knows of no learned variance")
        self.schedule = self._schedule(scheduler)
        self.clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample") else 0.0
        self.size = _square(unet.config.sample_size)
        self.device = torch.device(device)
        self.precision, self.compiled = chosen_precision(precision, device), compiled
        self.fingerprint = known_by(self._hash(unet), self.precision, compiled)
        # A plain float32 network keeps the layout that diffusers gives it, and with it the numbers of stored results.
        self._network = Network(
            unet, self.device, self.precision, compiled=compiled, casts=True,
            channels_last=compiled or self.precision != "fp32",
        )  # fmt: skip

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        output = self._network(x_t, t)[:, :3]
        if self.prediction == "epsilon":
            return output
        abar = self.schedule.abar(t)
        if self.prediction == "v_prediction":  # v = sqrt(abar) eps - sigma x_0 (Salimans & Ho 2202.00512, appendix D)
            return abar**0.5 * output + (1 - abar) ** 0.5 * x_t
        return (x_t - abar**0.5 * output) / (1 - abar) ** 0.5

    def _folder(self, diffusers: Any, location: str) -> Path:
        """The pipeline on this machine, downloaded if need be; what has no UNet2DModel is not downloaded."""
        if Path(location).is_dir():
            return Path(location)
        from huggingface_hub import hf_hub_download  # comes with diffusers

        try:
            self._index(Path(hf_hub_download(location, INDEX)))
            return Path(diffusers.DiffusionPipeline.download(location))
        except InputError:
            raise
        except Exception as error:  # the hub's client has a dozen ways to say no, of no common base
            first = next(iter(str(error).strip().splitlines()), "")
            raise self._error(
                f"no such folder, and not to be had from the Hugging Face hub ({type(error).__name__}: {first})"
            ) from error

    def _index(self, path: Path) -> dict:
        """What the pipeline is made of: {part: [library, class]}."""
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise self._error(f"no {path.name} in it, as DDPMPipeline.save_pretrained writes") from error
        except ValueError as error:
            raise self._error(f"{path.name} is not JSON ({error})") from error
        self._check_unet(index)
        return index

    def _check_unet(self, index: dict) -> None:
        _, kind = index.get("unet") or (None, "no unet")
        if kind != "UNet2DModel":
            raise self._error(f"a {index.get('_class_name')} with {kind}: only pipelines with a UNet2DModel will do")

    def _load(self, kind: Any, folder: Path, part: str, **options: Any) -> Any:
        """A part of the pipeline. The oldest repositories, the one of CIFAR-10 among them, have no folder for each."""
        place = folder / part if (folder / part).is_dir() else folder
        try:
            return kind.from_pretrained(str(place), local_files_only=True, **options)
        except Exception as error:  # OSError, ValueError, RuntimeError, safetensors' and pickle's own
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise self._error(f"its {part} does not load: {first}") from error

    def _scheduler_class(self, diffusers: Any, index: dict) -> Any:
        _, name = index.get("scheduler") or (None, "no scheduler")
        kind = getattr(diffusers, str(name), None)
        if not hasattr(kind, "from_pretrained"):
            raise self._error(f"its scheduler is {name}, which this diffusers does not know")
        return kind

    def _check_network(self, config: Any) -> None:
        if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
            raise self._error("its network wants a class: only unconditional networks will do")
        if config.in_channels != 3 or config.out_channels not in (3, 6):
            raise self._error(f"its network has {config.in_channels} -> {config.out_channels} channels, not 3 -> 3")
        if not _square(config.sample_size):
            raise self._error(f"its network says no square size (sample_size {config.sample_size})")

    def _schedule(self, scheduler: Any) -> Schedule:
        """Its own betas, multiplied up in float64: diffusers does it in float32, where 1 - alpha_bar_0 is 6e-4 off."""
        betas, alphas_cumprod = getattr(scheduler, "betas", None), getattr(scheduler, "alphas_cumprod", None)
        if betas is None or alphas_cumprod is None:
            raise self._error(f"its {type(scheduler).__name__} has no betas: it is none of a DDPM")
        try:
            schedule = Schedule(betas)
        except InputError as error:
            raise self._error(f"the betas of its scheduler reach 0 or 1 ({error})") from error
        if not torch.allclose(schedule.alpha_bar.float(), alphas_cumprod, rtol=1e-3, atol=1e-8):
            raise self._error(f"its {type(scheduler).__name__} does not follow from its betas")
        return schedule

    def _hash(self, unet: Any) -> str:
        """Weights by value and configuration without names and versions: the same for every copy, in any format."""
        sha = hashlib.sha256()
        config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        sha.update(json.dumps([config, self.prediction, self.clip], sort_keys=True, default=str).encode())
        sha.update(self.schedule.beta.numpy().tobytes())
        for name, weight in sorted(unet.state_dict().items()):
            sha.update(name.encode() + weight.contiguous().numpy().tobytes())
        return sha.hexdigest()[:16]

    def _error(self, text: str) -> InputError:
        return InputError(f"{self.label}: {text}")


def _square(sample_size: object) -> int:
    """Pixels of an edge; 0 for what is no square."""
    edges = set(sample_size) if isinstance(sample_size, list | tuple) else {sample_size}
    (edge,) = edges if len(edges) == 1 else (None,)
    return edge if isinstance(edge, int) else 0
