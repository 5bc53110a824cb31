"""What a result was measured on. The clock frequency is left out, since it changes by the second."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from functools import cache
from pathlib import Path

import psutil
import torch

from dipddpm.measure.instruments import allocator


@cache
def machine() -> dict:
    """CPU, threads, memory, accelerator and software versions, with a short ``id`` that is a hash of all of them."""
    found: dict[str, object] = {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": _blas(),
        "allocator": allocator.described(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpu_driver": _gpu_driver() if torch.cuda.is_available() else None,
    }
    return found | {"id": hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]}


def decides_numbers() -> dict:
    """What of :func:`machine` decides how numbers are rounded: machines that agree in it compute the same bits."""
    return {name: machine()[name] for name in ("cpu", "threads", "system", "torch", "blas", "gpu", "gpu_driver")}


def use_threads(count: int) -> None:
    """Compute with so many threads from now on; :func:`machine` says so."""
    torch.set_num_threads(count)
    machine.cache_clear()


def sm_clock(device: torch.device | str) -> int | None:
    """The clock of a GPU's multiprocessors now, in MHz; None for a CPU, and where the driver's library does not say.

    It is no part of :func:`machine`. Reading it changes no setting. It needs the package ``nvidia-ml-py``.
    """
    if torch.device(device).type != "cuda":
        return None
    try:
        return int(torch.cuda.clock_rate(device))
    except Exception:  # no such package, or a driver or a virtual card that does not tell: each has its own exception
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    """The libraries of matrix products and convolutions, and the instructions they use: these decide the rounding."""
    config = torch.__config__.show()
    patterns = (
        r"BLAS_INFO=(\w+)", r"Math Kernel Library Version ([\w.-]+)", r"(MKL-DNN v[\w.]+)", r"capability usage: (\w+)",
    )  # fmt: skip
    found = [re.search(pattern, config) for pattern in patterns]
    return ", ".join(match[1] for match in found if match) or "unknown"


def _gpu_driver() -> str:
    """Version of the GPU's driver and of the CUDA that torch was built for."""
    file = Path("/proc/driver/nvidia/version")
    match = re.search(r"\b(\d{3}\.\d+(\.\d+)?)\b", file.read_text(encoding="utf-8")) if file.exists() else None
    return f"{match[1] if match else 'unknown'}, CUDA {torch.version.cuda}"
