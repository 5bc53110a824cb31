"""Which device a command runs on, and how products of float32 numbers are rounded there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dipddpm.errors import InputError
from dipddpm.registry import choose

PRECISIONS = ("fp32", "tf32", "bf16")
"""Of the products in a network: of float32 numbers; of float32 numbers rounded to 10 bits, which tensor cores of CUDA
multiply; of bfloat16 numbers."""


def default_precision(device: torch.device | str) -> str:
    """The precision of a network where none is asked for."""
    return "tf32" if torch.device(device).type == "cuda" else "fp32"


def chosen_precision(name: str, device: torch.device | str) -> str:
    """The precision of that name; "" is the default of the device.

    Raises:
        InputError: there is none of that name, or the device has no such products.
    """
    if not name:
        return default_precision(device)
    if choose("precision", name, PRECISIONS) == "tf32" and torch.device(device).type != "cuda":
        raise InputError(f"precision tf32 is one of CUDA, the device is {device}: choose fp32 or bf16")
    return name


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Within, CUDA rounds the inputs of float32 products and convolutions to 10 bits if the precision is ``tf32``, and
    otherwise does not.

    torch has two such switches for the whole process, and by default the one of convolutions is on. Nothing else sets
    them. They have newer names since torch 2.9, and reading the old ones after setting the new ones raises: only the
    old names are used, which every torch from 2.6 has.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


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
        if device.type == "meta" or (device.type == "cpu" and device.index):  # torch makes tensors of both
            raise unavailable
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
