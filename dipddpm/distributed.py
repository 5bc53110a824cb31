"""Several processes that train one network: each takes a slice of the same batch, the gradients are averaged.

Started by ``torchrun --nproc-per-node N -m dipddpm train ...``; gloo on CPUs, NCCL on GPUs. The batch, its noise and
the weights are those of a lone process, so that the numbers are, too, up to the order of a sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dipddpm.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number from 0. Only the first writes and prints.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """It is the one that writes and prints."""
        return self.rank == 0

    def check(self, batch: int) -> None:
        """Raise InputError unless a batch can be shared out evenly: a mean of unequal means is not the mean."""
        if batch % self.count:
            raise InputError(f"a batch of {batch} cannot be shared out evenly over {self.count} processes")

    def share(self, batch: Tensor) -> Tensor:
        """This process's slice of a batch (N, ...)."""
        return batch.chunk(self.count)[self.rank] if self.count > 1 else batch

    def share_weights(self, model: nn.Module) -> None:
        """Give every process the parameters and buffers of the first."""
        if self.count == 1:
            return
        for value in model.state_dict().values():
            theirs = value.contiguous()
            dist.broadcast(theirs, 0)
            value.copy_(theirs)

    def average(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Replace each gradient by its mean over all processes; the mean loss.

        One flat message carries all, the loss with it, so that every process sees the same numbers and stops at the
        same NaN.
        """
        if self.count == 1:
            return loss
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([*(g.reshape(-1) for g in gradients), loss.detach().reshape(1)])
        dist.all_reduce(flat)
        flat /= self.count
        *means, loss = flat.split([*(g.numel() for g in gradients), 1])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return loss.squeeze()

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            dist.barrier()


ALONE = Processes()


@contextmanager
def processes(device: torch.device | str) -> Iterator[tuple[Processes, torch.device]]:
    """The processes that ``torchrun`` started, and the device of this one: ``cuda`` becomes a GPU of its own.

    Without ``torchrun`` it is one process, and nothing is set up.
    """
    device, count = torch.device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # The others wait for the first while it fits priors, which may take hours.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=2))
    try:
        yield Processes(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()
