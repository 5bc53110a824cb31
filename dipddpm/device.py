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
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name!r} is not available here: choose cpu, cuda or auto") from error
    return device
