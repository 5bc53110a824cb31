"""Which operators a piece of work spends its time in."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Operator:
    """One operator over one execution of the work.

    Attributes:
        calls: how often it was called.
        seconds: its own time, without that of the operators it called. An operator whose FLOPs are known includes those
            it called: a convolution is one row, whichever kernel computed it and whatever it copied for that.
        share: its seconds over those of all operators.
        flops: None where they are not known.
    """

    name: str
    calls: int
    seconds: float
    share: float
    flops: int | None


def operators(work: Callable[[], object], device: torch.device | str, flops: Mapping[str, int]) -> list[Operator]:
    """Every operator of one execution of ``work``, the slowest first. On a GPU, seconds are those of its kernels.

    Args:
        flops: of the same work, by operator, from :func:`dipddpm.measure.instruments.flops.flops_by_operator`.
    """
    cuda = torch.device(device).type == "cuda"
    work()  # the first call also allocates memory and loads kernels, which is not profiled
    with quiet(), profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]) as profiled:
        work()
        if cuda:
            torch.cuda.synchronize()
    calls: dict[str, int] = defaultdict(int)
    micros: dict[str, float] = defaultdict(float)
    with quiet():
        events = list(profiled.events() or ())
    for event in events:
        if event.device_type != DeviceType.CPU or any(parent.name in flops for parent in _parents(event)):
            continue
        calls[event.name] += 1
        own = event.name in flops
        if cuda:
            micros[event.name] += event.device_time_total if own else event.self_device_time_total
        else:
            micros[event.name] += event.cpu_time_total if own else event.self_cpu_time_total
    total = sum(micros.values()) or 1.0
    found = [Operator(n, calls[n], us / 1e6, us / total, flops.get(n)) for n, us in micros.items()]
    return sorted(found, key=lambda operator: -operator.seconds)


def _parents(event: Any) -> Iterator[Any]:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence stderr, where the C++ part of the profiler writes messages that nobody can act on."""
    sys.stderr.flush()
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a process without a stderr
        yield
        return
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
