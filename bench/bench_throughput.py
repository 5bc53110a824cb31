"""How fast is the denoiser, and how near to what the machine can do, over batch size, precision and torch.compile?"""

import pytest
import torch

from dipddpm import unet
from dipddpm.device import products
from dipddpm.measure.instruments.flops import flops
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.roofline import peak_rate, repeated
from dipddpm.measure.record import Measure, Record

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def points_of_batch(experiments):
    return {str(batch): batch for batch in experiments.profile.cost.batch_sizes}


def time_evaluations(config, size, device, batch, precision, compiled):
    """Seconds of repeated evaluations, of the first one (compilation, if any), and FLOPs of one, with the limit."""
    dtype = PRECISIONS[precision]
    model = unet.UNet(**config).to(device).to(memory_format=torch.channels_last).eval()
    x = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    t = torch.full((batch,), 500, device=device)
    with torch.inference_mode():
        count = flops(lambda: model(x, t))
    forward = torch.compile(model) if compiled else model

    def evaluate():
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            forward(x, t)

    with products(precision):
        (first,) = repeated(evaluate, seconds=0, least=1, warmup=0)
        times = repeated(evaluate, seconds=0.5, least=5, warmup=2, device=device)
        limit = peak_rate(str(device), dtype)
    return {"first": first, "times": times, "flops": count, "limit": limit}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", PRECISIONS)
def bench_denoiser_throughput(batch, precision, compiled, experiments, run_once, record):
    """One evaluation of the U-Net of the shipped checkpoint on a batch."""
    device, config, size = experiments.device, experiments.denoiser.config, experiments.denoiser.size
    cuda = device.type == "cuda"
    if precision != "fp32" and not cuda:
        pytest.skip(f"{precision} is timed on a GPU alone: most CPUs emulate it")
    if compiled and not (cuda or experiments.profile.name == "full"):
        pytest.skip("compiling costs minutes on a CPU; profile full does it")
    call = {"config": config, "size": size, "device": device, "batch": batch, "precision": precision}
    entry = experiments.memo(time_evaluations, call | {"compiled": compiled}, run=run_once)
    found = entry.value
    typical = sorted(found["times"])[len(found["times"]) // 2]
    rate = found["flops"] / typical
    record(
        Record(
            suite="denoiser throughput",
            group="U-Net",
            arm=machine()["gpu"] if cuda else "CPU",
            role="stage",
            budget=1,
            axes={"batch": batch, "precision": precision, "compiled": compiled},
            measures={
                "NFE / s": Measure("", True, "timing", [batch / s for s in found["times"]]),
                "ms / NFE": Measure("", False, "timing", [1e3 * s / batch for s in found["times"]]),
                "GFLOP / s": Measure("", True, "timing", [rate / 1e9]),
                "% of peak": Measure("", True, "timing", [100 * rate / found["limit"]]),
                "first call (s)": Measure("", False, "timing", [found["first"]]),
            },
            seconds={"evaluation": typical / batch},
            units={"evaluation": 1},
            memory={"evaluation": entry.memory},
        )
    )
