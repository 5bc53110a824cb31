"""One update of a noise network: the batch, the loss, the step, the average. Resumes to the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dipddpm.batches import in_batches
from dipddpm.distributed import ALONE, Processes
from dipddpm.errors import InputError
from dipddpm.injection import Injection
from dipddpm.schedule import Schedule
from dipddpm.training_loss import PLAIN, Batch, ddpm_loss, draw_batch
from dipddpm.unet import UNet


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained: besides the images and their priors, all that decides its weights.

    Attributes:
        steps: updates. batch: images per update, over all processes.
        lr: peak learning rate of AdamW, after ``warmup`` updates; it falls along half a cosine to 2 % at ``steps``, or
            stays (``decay`` False), so that a longer run begins as a shorter one did.
        ema_decay: of the averaged weights. clip: largest norm of the gradient.
        seed: of the initial weights, the order of the images and the draws of (t, eps).
        precision: ``bf16`` runs the network in bfloat16 where autocast allows it; weights and loss stay float32.
        compiled: through torch.compile.
    """

    steps: int
    batch: int = 64
    lr: float = 5e-4
    warmup: int = 200
    decay: bool = True
    ema_decay: float = 0.999
    clip: float = 1.0
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False


class Diverged(InputError):
    """The loss, its gradient or the weights are no numbers any more. The message says since when."""


RESIDENT = 4 * 2**30  # bytes of images, and of priors, that are kept on a GPU as a whole


class Outcome(NamedTuple):
    """What an update came to: its number, and [loss, norm of the gradient], which are there when ``ready`` is."""

    update: int
    numbers: Tensor
    ready: torch.cuda.Event | None

    @classmethod
    def of(cls, update: int, numbers: Tensor) -> Outcome:
        """The copy to the CPU begins now: one that is asked for later would wait for all that is queued by then."""
        if numbers.device.type != "cuda":
            return cls(update, numbers, None)
        copied, ready = numbers.to("cpu", non_blocking=True), torch.cuda.Event()
        ready.record()
        return cls(update, copied, ready)

    def values(self) -> list[float]:
        """Both numbers, once the update is that far."""
        if self.ready:
            self.ready.synchronize()
        return self.numbers.tolist()


def initial_network(config: Mapping[str, Any], seed: int, channels: int = 3) -> UNet:
    """The U-Net of a seed. Further input channels begin with weights of 0: every arm begins as the same network.

    Args:
        config: arguments of :class:`UNet` but ``in_channels``.
        channels: of the input: ``Injection.channels``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = UNet(**{**config, "in_channels": 3})
    if channels == 3:
        return plain
    wide = UNet(**{**config, "in_channels": channels})
    weights = plain.state_dict()
    stem = weights["stem.weight"]
    weights["stem.weight"] = torch.cat([stem, stem.new_zeros(len(stem), channels - 3, *stem.shape[2:])], dim=1)
    wide.load_state_dict(weights)
    return wide


class EMA:
    """Exponential moving average of a model's parameters, ``decay`` warmed up as (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the current weights."""
        self.updates += 1
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = model.state_dict()
        torch._foreach_lerp_(list(self.shadow.values()), [current[name] for name in self.shadow], rate)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Training:
    """A network in training: weights, their average, optimiser, and ``done``, the updates behind it.

    ``whole`` is False while these change: an interruption there leaves nothing to go on from.
    ``waits`` is whether an update is known to be finite before its step. A GPU would idle meanwhile: there, a flag on
    the device makes the optimiser skip the step of one that is not, and the host looks one update later.

    Args:
        model: moved to ``device`` and trained in place.
        injection: how a prior enters; the default is the plain DDPM.
        processes: those that share each batch.

    Raises:
        InputError: a batch that cannot be shared out evenly; a network of other input channels than ``injection`` has.
    """

    def __init__(
        self,
        model: UNet,
        schedule: Schedule,
        settings: TrainingSettings,
        injection: Injection = PLAIN,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ):
        processes.check(settings.batch)
        if model.config["in_channels"] != injection.channels:
            takes = model.config["in_channels"]
            raise InputError(
                f"injection {injection.name!r} feeds {injection.channels} channels, the network takes {takes}"
            )
        self.device, self.schedule, self.settings, self.injection = torch.device(device), schedule, settings, injection
        self.processes, self.done, self.whole = processes, 0, True
        self.waits = self.device.type != "cuda"
        self._last: Outcome | None = None
        self._resident: dict[int, tuple[Tensor, Tensor]] = {}
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()
        self.ema = EMA(model, settings.ema_decay)
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=0.0, betas=(0.9, 0.99), fused=True
        )
        self._network = torch.compile(self.model) if settings.compiled else self.model

    def update(self, images: Tensor, mu: Tensor | None = None) -> float | Tensor:
        """One update on a batch of uint8 ``images`` (N, 3, H, W) and their priors, which are not changed meanwhile.

        Returns:
            the loss; on a GPU as a tensor that need not be there yet: ``float`` waits for it.

        Raises:
            Diverged: loss or gradient are not finite; the weights are still those before that update. On a GPU, the
                next update or :meth:`check` says so; the average of the weights has then moved once more towards them.
        """
        settings, near = self.settings, self._near
        batch = draw_batch(
            near(images), self.schedule, settings.batch, settings.seed, self.done, None if mu is None else near(mu),
            self.device,
        )  # fmt: skip
        x_0, t, eps, mu = (None if part is None else self.processes.share(part) for part in batch)
        assert x_0 is not None and t is not None and eps is not None
        loss = self.processes.average(self.model, self._backward(Batch(x_0, t, eps, mu)))
        numbers = torch.stack([loss, nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)])
        self.check()  # of the update before: the device is busy with this one
        self._last = Outcome.of(self.done, numbers)
        if self.waits:
            self.check()
        else:
            self._optimizer.found_inf = (~numbers.isfinite().all()).float()  # type: ignore[attr-defined]
        steps = settings.steps if settings.decay else 10**12
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.done, steps, settings.lr, settings.warmup)
        self.whole = False
        self._optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        self.whole = True
        return float(loss) if self.waits else loss

    def check(self) -> None:
        """Wait for the last update, and see whether it was one.

        Raises:
            Diverged: its loss or gradient are not finite. It counts as not done.
        """
        if self._last is None:
            return
        last, self._last = self._last, None
        (value, size), at = last.values(), last.update
        if not (math.isfinite(value) and math.isfinite(size)):
            self.done = self.ema.updates = at
            what, became = ("loss", value) if not math.isfinite(value) else ("gradient", size)
            raise Diverged(f"the {what} became {became} at update {at}")

    def _near(self, tensor: Tensor) -> Tensor:
        """Images or priors on the GPU, copied there once in a training, unless they are too many: then as they are."""
        if self.device.type != "cuda" or tensor.device.type == "cuda" or tensor.nbytes > RESIDENT:
            return tensor
        if id(tensor) not in self._resident:  # the original is kept too, so that no other gets its id
            self._resident[id(tensor)] = tensor, tensor.to(self.device)
        return self._resident[id(tensor)][1]

    def _backward(self, batch: Batch) -> Tensor:
        """The loss of a batch, and its gradient in the parameters' ``grad``.

        Where memory is short of the whole batch, the loss and the gradient are sums over slices of it, each with its
        share of the images: the same numbers to rounding (a network with dropout draws other units to drop).
        """
        summed: dict[nn.Parameter, Tensor] = {}

        def backward(images: slice) -> Tensor:
            x_0, t, eps, mu = batch.part(images)
            share = len(x_0) / len(batch.x_0)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                loss = ddpm_loss(self._network, self.schedule, x_0, t, eps, self.injection, mu).mean()
            if share < 1:
                loss = loss * share
            # A gradient starts at none in every slice: what a failed attempt left is no part of the sum, and what other
            # slices gave lies aside, where no attempt can spoil it.
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if share < 1:
                for p in self.model.parameters():
                    if p.grad is not None:
                        summed[p] = summed[p].add_(p.grad) if p in summed else p.grad
                    p.grad = summed.get(p)
            return loss.detach()

        width = "-".join(str(c) for c in self.model.config["channels"])
        stage = (
            f"training (U-Net {width}, {self.model.config['size']} px, {self.settings.precision}, {self.device.type})"
        )
        losses = in_batches(stage, len(batch.x_0), backward)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def state(self) -> dict[str, Tensor]:
        """All that another run needs to go on from here, by name.

        Raises:
            Diverged: the last update or a weight is not finite: nothing to go on from.
        """
        self.check()
        if not all(bool(p.isfinite().all()) for p in self.model.state_dict().values()):
            raise Diverged(f"the weights became NaN or infinite before update {self.done}")
        tensors = {f"model.{name}": p for name, p in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": p for name, p in self.ema.shadow.items()}
        for i, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
        return tensors | {"done": torch.tensor(self.done)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        # Copies in the memory layout of the parameters: the average is changed in place, and the fused optimiser walks
        # through parameter and moments side by side without a look at their strides.
        ema = part("ema.")
        self.ema.shadow = {name: torch.empty_like(p).copy_(ema[name]) for name, p in self.model.state_dict().items()}
        whole, parameters = self._optimizer.state_dict(), list(self.model.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            i, _, key = name.partition(".")
            like = parameters[int(i)] if value.ndim else value
            moments.setdefault(int(i), {})[key] = torch.empty_like(like, requires_grad=False).copy_(value)
        self._optimizer.load_state_dict(whole | {"state": moments})
        self.done = self.ema.updates = int(state["done"])
