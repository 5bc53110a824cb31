"""A clock that waits for the work queued on a GPU before it reads the time."""

from __future__ import annotations

import time

import torch


def synchronised() -> float:
    """Seconds of a monotonic clock, after all work queued on the current accelerator is done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
