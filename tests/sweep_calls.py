"""Calls that workers of the tests of sweeps make: plain functions of a module, as what a store keeps has to be."""

import os
import signal
import time
from pathlib import Path

import torch


def doubled(x, name=""):
    return {"x": 2 * x, "threads": torch.get_num_threads(), "name": name}


def slowly(x, seconds):
    time.sleep(seconds)
    return {"x": 2 * x}


def hangs(seconds):
    """Sleeps, and goes on after whatever is raised meanwhile, as careless code does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except Exception:
            continue
    return {"woke": True}


def refused(reason):
    raise ValueError(reason)


def dies_once(folder):
    """Kills its process the first time: by a file that it leaves in ``folder``."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"alive": True}


def dies(reason):
    os.kill(os.getpid(), signal.SIGKILL)
