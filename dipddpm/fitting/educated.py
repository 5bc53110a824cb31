"""educated: the fit begins with weights that were learned once, from the training images of the denoiser."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from msgspec import Meta
from safetensors.torch import save
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior
from dipddpm.dip.skip import SkipNet
from dipddpm.documents import TrainedRecord, check_weights, read_weights_with_record, tensors_of
from dipddpm.errors import InputError
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.paths import shown
from dipddpm.tasks import Observation
from dipddpm.warm_start import smooth_estimate

SHIPPED = Path(__file__).with_name("educated.safetensors")
WIDTH = 32  # half of what skip has at 32 px: 91,359 weights, 250 kB in half precision
VERB = "`dipddpm train-educated`"


@dataclass(eq=False)
class Educated(Trajectory):
    """min over theta of || A f_theta(P s) - y ||^2, from a theta that restores already

    theta was trained on all degradations of training images at once, min || f_theta(P s) - x_0 ||^2; nothing of it is
    frozen in the fit. s is A^+ y, and where that leaves something open the smoothest image that agrees with y, as the
    prior ``learned`` is shown it (:func:`dipddpm.warm_start.smooth_estimate`). Shown A^+ y, which has holes, a network
    of 2300 updates was at 20.2 dB on `inpaint`, and a fit made that 19.2: it learns the observed pixels by their
    pattern and lets go of the others. P was drawn once and belongs to the checkpoint (:class:`FixedInput`).

    So all images begin with the same network, the iterate of 0 iterations is its restoration, and nothing is random,
    unless ``input_noise`` asks for noise on z. It is no prior-free method, and it fits no other architecture, width or
    size than were trained.

    Attributes:
        lr: validation images choose between 1e-3 and the published 1e-4. On 4 validation images of CIFAR-10, 1e-3 has
            24.7, 27.1 and 25.0 dB after 50 iterations of `inpaint`, `super_resolution` and `denoise_25`, and 1e-4 has
            24.5, 26.9 and 26.4: the noise is fitted later.
        checkpoint: what ``dipddpm train-educated`` wrote; "" opens the one that ships with the package.
        content: hash of its bytes, so that another network is another method.
    """

    name = "educated"
    source = "Barbano et al. 2021, arXiv 2111.11926; Zhang et al. 2022 (MetaDIP), arXiv 2209.08452"
    learned: ClassVar[bool] = True

    lr: float | None = 1e-3
    input_noise: float | None = 0.0
    checkpoint: str = ""
    content: str = field(init=False)

    def __post_init__(self) -> None:
        path = self._path
        self.content = hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()

    @property
    def training_seconds(self) -> float:
        """Those of the record of the checkpoint."""
        return float(self._record["training_seconds"])

    def variants(self) -> tuple[Educated, ...]:
        return self, replace(self, lr=(self.lr or 0) / 10)

    def described(self) -> str:
        return f"lr {self.lr:g}"

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        record, size = self._record, observation.pinv.shape[-1]
        wrong = (
            (architecture is not SkipNet, f"architecture {architecture.name!r}", f"architecture {SkipNet.name!r}"),
            (width != record["width"], f"width {width or 'as published'}", f"width {record['width']}"),
            (size != record["size"], f"images of {size} px", f"images of {record['size']} px"),
        )
        asked, fixes = [what for bad, what, _ in wrong if bad], [fix for bad, _, fix in wrong if bad]
        if not asked:
            return ""
        return f"has learned weights, and none for {', '.join(asked)}: use {', '.join(fixes)}, or fit with 'plain'"

    def begin(self, problem: Problem) -> Steps:
        trained = _open(self._path, self.content)
        own = dict(problem.network.named_parameters())
        with torch.no_grad():
            for name, weight in trained.network.named_parameters():
                # the network of an image alone is one part of the module that runs it beside a twin
                parameter = own[name if name in own else f"stacked.{name}"]
                parameter.copy_(weight.expand_as(parameter))
            z = copy.deepcopy(trained.input).to(problem.z)(smooth_estimate(problem.observation))
        return self.with_loss(replace(problem, z=z), problem.misfit)

    @property
    def _path(self) -> Path:
        return Path(self.checkpoint) if self.checkpoint else SHIPPED

    @property
    def _record(self) -> Mapping[str, Any]:
        return _read(self._path, self.content)[2]


class FixedInput(nn.Module):
    """P, drawn once for all images: (N, 3, size, size) to z, (N, channels, size, size), affine.

    Each channel is a mixture of the colours, as in :mod:`dipddpm.fitting.image_input`. The norms of the network take
    the mean and the contrast out of every channel, and with them those of the image. So half of the channels show the
    image at a random half of the pixels, and at the others a constant that it can be compared with. Over all tasks that
    took the squared error after 250 updates from 0.104 to 0.074.
    """

    mixture: Tensor
    shown: Tensor
    constant: Tensor

    def __init__(self, channels: int, size: int):
        super().__init__()
        shown = torch.rand(channels, size, size) < 0.5
        shown[: channels // 2] = True
        self.register_buffer("mixture", torch.randn(channels, 3, 1, 1) / 3**0.5)
        self.register_buffer("shown", shown.float())
        self.register_buffer("constant", torch.randn(channels, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.where(self.shown > 0, F.conv2d(image, self.mixture), self.constant)


class Pretrained(nn.Module):
    """f(P x) as it is trained: one network for all images of a batch.

    A batch norm would mix the images, which no fit does. A group norm with a group for every channel normalises over
    the pixels of one image, as the stacked batch norm of a fit, and its parameters have the same names.
    """

    def __init__(self, size: int, width: int = WIDTH):
        super().__init__()
        self.network = each_by_itself(SkipNet(size, width))
        self.input = FixedInput(self.network.z_shape()[0], size)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) to the same shape."""
        return self.network(self.input(image).contiguous(memory_format=torch.channels_last))


def each_by_itself(network: SkipNet) -> SkipNet:
    """The network with group norms of one channel in the place of its batch norms."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            above, _, last = name.rpartition(".")
            channels = layer.num_features
            network.get_submodule(above).add_module(last, nn.GroupNorm(channels, channels, layer.eps))
    return network


def checkpoint(weights: Mapping[str, Tensor]) -> bytes:
    """What a checkpoint file holds of the state of a :class:`Pretrained`: weights and P, in half precision."""
    # As for the warm start: half precision halves the file, and the rounded weights are the definition.
    return save({name: weight.half().contiguous().cpu() for name, weight in weights.items()})


class EducatedRecord(TrainedRecord):
    """What the record of a checkpoint has to say."""

    width: Annotated[int, Meta(ge=1, le=8192)]


@cache
def _read(path: Path, content: str) -> tuple[bytes, EducatedRecord, Mapping[str, Any]]:
    """The bytes of a file with this content, its record, and all that the record says.

    Raises:
        InputError: one of the two is missing, or they do not belong together.
    """
    data, record, whole = read_weights_with_record(path, EducatedRecord, "educated DIP", VERB)
    if content != record.sha256:
        raise InputError(f"educated DIP {shown(path)}: its bytes changed while it was open; begin again")
    return data, record, whole


@cache
def _open(path: Path, content: str) -> Pretrained:
    """The network of a file with this content. Only a fit needs it: building one on the device meta imports torch's
    compiler, which takes two seconds.

    Raises:
        InputError: as of ``_read``, or the weights are those of another network.
    """
    data, record, _ = _read(path, content)
    with torch.device("meta"):
        network = Pretrained(record.size, record.width)
    what = f"educated DIP {shown(path)}"
    weights = {name: tensor.float() for name, tensor in tensors_of(data, what).items()}
    check_weights(network, weights, what)
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False)
