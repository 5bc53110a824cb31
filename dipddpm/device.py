"""Which device a command runs on."""

from __future__ import annotations

import torch

from dipddpm.errors import InputError


def open_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA where there is one.

    Raises:
        InputError: there is none of that name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unavailable = InputError(f"--device {name!r} is not available here: choose cpu, cuda or auto")
    try:
        device = torch.device(name)
        if device.type != "cuda":
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise unavailable from error
    # GPUs are counted and not touched: each process of torchrun would hold memory of the first one beside its own
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise unavailable
    if device.index:  # what asks for no device (clocks, memory, the machine's name) means this one
        torch.cuda.set_device(device)
    return device
