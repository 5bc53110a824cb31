"""diffusers: any pipeline of the library diffusers whose network is a UNet2DModel, by folder or by hub name."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dipddpm.denoisers import Denoiser, known_by
from dipddpm.denoisers.evaluation import Network, check_finite
from dipddpm.device import chosen_precision
from dipddpm.documents import brief
from dipddpm.errors import InputError
from dipddpm.notes import say_once
from dipddpm.paths import given_path, shown
from dipddpm.schedule import Schedule

PREDICTIONS = ("epsilon", "v_prediction", "sample")
INDEX = "model_index.json"
UNET_CONFIG, SCHEDULER_CONFIG, WEIGHTS = "config.json", "scheduler_config.json", "diffusion_pytorch_model"
LARGEST, LAYERS, LONGEST = 8192, 64, 100_000
"""Of any size in the configuration of a network, of its layers in a block and of its lists, and of a schedule."""
LONGEST_ERROR = 600  # characters
WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+|_orig_mod\.")
"""What DistributedDataParallel puts before the name of every tensor, and torch.compile into it."""


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
            no UNet2DModel; it is conditional, not RGB, or not square; it lacks weights, or they are not finite; its
            scheduler is none of a DDPM.
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
        self.label = f"diffusers:{shown(location)}"
        folder = self._folder(diffusers, location)
        index = self._index(folder / INDEX)
        self._check_sizes(self._json(_place(folder, "unet") / UNET_CONFIG))
        unet = self._unet(diffusers.UNet2DModel, folder)
        self._check_network(unet.config)
        check_finite(unet.state_dict(), self.label)
        place, kind = _place(folder, "scheduler"), self._scheduler_class(diffusers, index)
        written = self._json(place / SCHEDULER_CONFIG)
        self._check_length(written)
        scheduler = self._load(kind, place, "scheduler")
        config = scheduler.config

        self.prediction = self._prediction(written)
        if config.get("thresholding"):
            raise self._error("its scheduler thresholds dynamically, which no sampler here does")
        if unet.config.out_channels == 6 and not str(config.get("variance_type")).startswith("learned"):
            raise self._error("its network has 6 outputs, but its scheduler knows of no learned variance")
        self.schedule = self._schedule(scheduler)
        if config.get("rescale_betas_zero_snr"):  # one that does it has been refused, for its last beta is 1
            raise self._error(f"rescale_betas_zero_snr in its scheduler is not done by {type(scheduler).__name__}")
        self.clip = self._clip(config)
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
        if given_path(location).is_dir():
            return given_path(location)
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
        index = self._json(path)
        self._check_unet(index)
        return index

    def _json(self, path: Path) -> dict:
        """What a file of the pipeline holds: names and values."""
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            raise self._error(f"no {path.name} in it, as DDPMPipeline.save_pretrained writes") from error
        except OSError as error:
            raise self._error(f"{path.name} cannot be read ({error.strerror})") from error
        try:
            content = json.loads(text)  # with Infinity, which is no JSON: some schedulers of the library write it
        except (ValueError, RecursionError) as error:
            raise self._error(f"{path.name} is damaged ({brief(error)})") from error
        if not isinstance(content, dict):
            raise self._error(f"{path.name} must hold names and values, it is a {type(content).__name__}")
        return content

    def _check_unet(self, index: dict) -> None:
        kind = _class_of(index, "unet")
        if kind != "UNet2DModel":
            raise self._error(f"a {index.get('_class_name')} with {kind}: only pipelines with a UNet2DModel will do")

    def _unet(self, kind: Any, folder: Path) -> Any:
        """The network, in float32, with every one of its weights from the file.

        ``from_pretrained`` draws at random what a file lacks, and says so in a log that few read.
        """
        unet, missing, extra = self._weights(kind, _place(folder, "unet"))
        if missing and any(WRAPPERS.search(name) for name in extra):
            with tempfile.TemporaryDirectory() as plain:
                try:
                    _without_wrappers(_place(folder, "unet"), Path(plain))
                except Exception as error:  # what opened a moment ago: a full disk, say
                    raise self._error(f"its unet does not load: {error}") from error
                unet, missing, extra = self._weights(kind, Path(plain))
            if not missing:
                say_once(f"{self.label}: its tensors carry the names of a wrapper (_orig_mod. or module.), taken off")
        if missing:
            raise self._error(
                f"its unet lacks {len(missing)} of {len(unet.state_dict())} tensors: {_some(missing)}; save it again, "
                f"with the network as DDPMPipeline takes it"
            )
        if extra:
            say_once(f"{self.label}: {len(extra)} tensors have no place in its unet and are left out: {_some(extra)}")
        return unet.float()

    def _weights(self, kind: Any, place: Path) -> tuple[Any, list[str], list[str]]:
        """The network, and which tensors its file lacks and has too many."""
        # low_cpu_mem_usage: its default warns where another library, accelerate, is not installed.
        unet, info = self._load(kind, place, "unet", low_cpu_mem_usage=False, output_loading_info=True)
        return unet, sorted(info["missing_keys"]), sorted(info["unexpected_keys"])

    def _load(self, kind: Any, place: Path, part: str, **options: Any) -> Any:
        """A part of the pipeline."""
        try:
            return kind.from_pretrained(str(place), local_files_only=True, **options)
        except Exception as error:  # OSError, ValueError, RuntimeError, safetensors' and pickle's own
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise self._error(f"its {part} does not load: {first}") from error

    def _scheduler_class(self, diffusers: Any, index: dict) -> Any:
        name = _class_of(index, "scheduler")
        kind = getattr(diffusers, name, None)
        if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
            raise self._error(f"its scheduler is {name}, which this diffusers does not know")
        return kind

    def _check_sizes(self, config: Mapping[str, object]) -> None:
        """Whether the network can be built at all; said before memory is asked for."""
        for name, value in config.items():
            most = LAYERS if name == "layers_per_block" else LARGEST
            values = value if isinstance(value, list) else [value]
            if len(values) > LAYERS or any(isinstance(v, int) and not 0 <= v <= most for v in values):
                raise self._error(f"{name} of its network is out of range: whole numbers from 0 to {most} will do")

    def _check_length(self, config: Mapping[str, object]) -> None:
        betas, T = config.get("trained_betas"), config.get("num_train_timesteps")
        if not isinstance(T, int) or not 1 <= T <= LONGEST or (isinstance(betas, list) and len(betas) > LONGEST):
            raise self._error(f"num_train_timesteps of its scheduler must be a whole number from 1 to {LONGEST}")

    def _prediction(self, written: Mapping[str, object]) -> str:
        """What the network predicts, as the scheduler's configuration says or, before 2023, ``predict_epsilon`` in it.

        That key is unknown to the library today, which then takes every such network for one that predicts epsilon.
        """
        said, old = written.get("prediction_type"), written.get("predict_epsilon")
        if old is not None and not isinstance(old, bool):
            raise self._error(f"predict_epsilon in its scheduler is {old!r}: true and false are known")
        meant = "epsilon" if old else "sample"
        if None not in (said, old) and said != meant:
            raise self._error(
                f"its scheduler says prediction_type {said!r}, and predict_epsilon {str(old).lower()}, which is "
                f"{meant!r}; delete the one that is wrong"
            )
        prediction = meant if old is not None else "epsilon" if said is None else said
        if not isinstance(prediction, str) or prediction not in PREDICTIONS:
            raise self._error(f"its network predicts {prediction!r}: known are {', '.join(PREDICTIONS)}")
        return prediction

    def _clip(self, config: Mapping[str, Any]) -> float:
        if not config.get("clip_sample"):
            return 0.0
        clip = config.get("clip_sample_range", 1.0)
        if not isinstance(clip, int | float) or not 0 < clip < math.inf:
            raise self._error(f"clip_sample_range of its scheduler is {clip!r}: a number above 0 will do")
        return float(clip)

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
        # What files and libraries say is quoted in many of these: a list of a thousand numbers is not read to its end.
        line = " ".join(text.split())
        return InputError(f"{self.label}: {line if len(line) <= LONGEST_ERROR else f'{line[: LONGEST_ERROR - 3]}...'}")


def _square(sample_size: object) -> int:
    """Pixels of an edge; 0 for what is no square."""
    edges = sample_size if isinstance(sample_size, list | tuple) else [sample_size]
    edge = edges[0] if edges and all(other == edges[0] for other in edges) else None
    return edge if isinstance(edge, int) else 0


def _place(folder: Path, part: str) -> Path:
    """Where a part of a pipeline lies. The oldest repositories, the one of CIFAR-10 among them, have no folder for
    each."""
    return folder / part if (folder / part).is_dir() else folder


def _class_of(index: Mapping[str, object], part: str) -> str:
    """The class of a part of a pipeline, as its index names it beside the library."""
    entry = index.get(part)
    return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and entry[1] else f"no {part}"


def _without_wrappers(place: Path, plain: Path) -> None:
    """Write the network at ``place`` to the folder ``plain``, its tensors under the names that they had before."""
    weights: dict[str, Tensor] = {}
    for file in sorted(place.glob(f"{WEIGHTS}*.safetensors")):
        weights |= load_file(file)
    for file in sorted(place.glob(f"{WEIGHTS}*.bin")) if not weights else ():
        weights |= torch.load(file, map_location="cpu", weights_only=True)
    named = {WRAPPERS.sub("", name): weight.contiguous() for name, weight in weights.items()}
    save_file(named, plain / f"{WEIGHTS}.safetensors", {"format": "pt"})
    (plain / UNET_CONFIG).write_bytes((place / UNET_CONFIG).read_bytes())


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
