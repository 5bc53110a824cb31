"""Clocks that wait for the work queued on a GPU, and the time of short executions."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import torch

EVENT_RESOLUTION = 0.5e-6  # seconds; cudaEventElapsedTime in the manual of the CUDA runtime: "around 0.5 microseconds"


def synchronised() -> float:
    """Seconds of a monotonic clock, after all work queued on the current accelerator is done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def each(work: Callable[[], object], count: int, device: torch.device | str = "cpu") -> list[float]:
    """Seconds of each of ``count`` executions, one after the other.

    On a CPU they are those of :func:`synchronised` around each. On a GPU they are the distances between CUDA events,
    and the device is waited for once, at the end: waiting for every execution would add the launch of its first kernel
    to each, which is as long as a short execution. Where the CPU launches kernels more slowly than the GPU runs them,
    the distance includes the launches.
    """
    device = torch.device(device)
    if device.type != "cuda":
        times = []
        for _ in range(count):
            started = synchronised()
            work()
            times.append(synchronised() - started)
        return times
    with torch.cuda.device(device):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            work()
            event.record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in pairwise(events)]


def resolution(device: torch.device | str = "cpu") -> float:
    """The smallest difference in seconds that the clock of :func:`each` can tell apart."""
    if torch.device(device).type == "cuda":
        return EVENT_RESOLUTION
    return time.get_clock_info("perf_counter").resolution
