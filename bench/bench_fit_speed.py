"""How are the networks of many images fitted the fastest: by which convolution, in which precision, as a graph or not?

``pytest bench -k fit_speed``. The table in ``dipddpm/cuda/layers.py`` was made by this suite, and only that table
decides by which convolution a device computes. Every way takes turns with the one that a library offers (``grouped``),
so that a change of the clock frequency affects both.
"""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from dipddpm.cuda import layers
from dipddpm.device import products
from dipddpm.dip import architecture_class
from dipddpm.dip.skip import SkipNet
from dipddpm.experiments import stages
from dipddpm.experiments.recipes import dip_flops
from dipddpm.fitting import fit_dip, iteration
from dipddpm.fitting.plain import Plain, misfit
from dipddpm.measure.instruments.paired_timing import median_ratio, paired
from dipddpm.measure.instruments.roofline import product_rate, repeated
from dipddpm.measure.record import Measure, Record
from dipddpm.metrics.psnr import Psnr
from dipddpm.networks import build
from dipddpm.rng import ImageRng
from dipddpm.tasks.inpaint import Inpaint

IMAGES = {"cpu": 8, "cuda": 256}
PAIRS = 5
PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
SHAPES = {  # (input channels, output channels, padded side, stride) of 3x3 convolutions: of skip, and a wide one
    "68 to 64 at 32 px": (68, 64, 34, 1),
    "64 to 64 at 16 px": (64, 64, 18, 1),
    "64 to 64, 16 to 8 px": (64, 64, 18, 2),
    "64 to 64 at 8 px": (64, 64, 10, 1),
    "128 to 128 at 16 px": (128, 128, 18, 1),
}
WAYS = ("grouped", "window", "implicit")
FITS = {  # (way to convolve, precision, as a graph)
    "grouped, fp32": ("grouped", "fp32", False),
    "window, fp32, graph": ("window", "fp32", True),
    "grouped, tf32, graph": ("grouped", "tf32", True),
    "window, tf32, graph": ("window", "tf32", True),
    "implicit, tf32, graph": ("implicit", "tf32", True),
    "grouped, bf16, graph": ("grouped", "bf16", True),
    "implicit, bf16": ("implicit", "bf16", False),
    "implicit, bf16, graph": ("implicit", "bf16", True),
}


@contextlib.contextmanager
def multiplying(way, precision):
    """Convolutions by this way (those of the table where it is ""), products in this precision."""
    tables = layers.WAYS, layers.WIDE_WAYS
    before = [dict(table) for table in tables]
    for table in tables:
        table[precision] = way or table[precision]
    try:
        with products(precision):
            yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.update(entries)


def time_convolution(shape, precision, way, images, device):
    """Time a convolution with its gradients in turns with the grouped one: seconds, ratios, and its rate as a share of
    that of a matrix product."""
    c_in, c_out, side, stride = shape
    dtype, generator = PRECISIONS[precision], torch.Generator().manual_seed(0)
    x = torch.randn(images, c_in, side, side, generator=generator).to(device, dtype).requires_grad_()
    by_tap = torch.randn(images, 3, 3, c_out, c_in, generator=generator)
    weight = by_tap.to(device, dtype).permute(0, 3, 4, 1, 2).requires_grad_()
    to = (side - 3) // stride + 1
    given = torch.randn(images, c_out, to, to, generator=generator).to(device, dtype)

    def gradients():
        torch.autograd.grad(layers.convolution(x, weight, None, stride, 0), (x, weight), given)

    def by(way):
        def work():
            with multiplying(way, precision):
                gradients()

        return work

    ratios, _ = paired(by("grouped"), by(way), pairs=PAIRS, seconds=0.02)
    with multiplying(way, precision):
        seconds = repeated(gradients, 0.05, warmup=0)
        limit = product_rate(str(device), dtype)
    return {"ratios": ratios, "seconds": seconds, "flops": 6 * images * c_in * c_out * 9 * to**2, "limit": limit}


def plain_loop(device, iterations):
    """The loop of the original code for one image, without its average of the outputs."""
    network = SkipNet().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=network.lr)
    z, y = 0.1 * torch.rand(1, *network.z_shape(), device=device), torch.rand(1, 3, 32, 32, device=device)
    for _ in range(iterations):
        optimizer.zero_grad()
        F.mse_loss(network(z + torch.randn_like(z) / 30), y).backward()
        optimizer.step()


def time_fit(architecture, way, precision, graph, images, device):
    """An iteration of fitting many images in turns with the plain loop on one."""
    x_0 = stages.images(images, 32)
    observation = Inpaint().observe(x_0, ImageRng(range(images))).to(device)
    rng = ImageRng(range(images), device)
    with multiplying(way, precision):
        network, z = build(architecture, rng, 32)
        one = iteration.Iteration(
            network, z, lambda image: misfit(image, observation, architecture, 32), architecture.lr,
            precision, graph=graph,
        )  # fmt: skip

        def work():
            one(rng.randn(*z.shape[1:]).mul_(architecture.input_noise) if architecture.input_noise else None)

        for _ in range(iteration.EAGER + 2):
            work()
        ratios, _ = paired(lambda: plain_loop(device, 10), work, pairs=PAIRS, seconds=0.05)
        seconds = repeated(work, 0.1, warmup=0)
        count = 3 * images * dip_flops(architecture, 32)["flops"]
        limit = product_rate(str(device), PRECISIONS[precision])
    return {
        "ratios": [ratio * images / 10 for ratio in ratios], "seconds": seconds, "flops": count, "limit": limit
    }  # fmt: skip


def fit_photographs(architecture, way, precision, iterations, device, photographs):
    """PSNR of the fits of some photographs, averages of outputs, one value per image."""
    x_0 = photographs.to(device)
    observation = Inpaint().observe(photographs, ImageRng(range(len(x_0)))).to(device)
    method = Plain(precision=precision)
    with multiplying(way, precision):
        rng = ImageRng(range(len(x_0)), device)
        mu = fit_dip(architecture, observation, rng, iterations=[iterations], method=method).mu(iterations, "ema")
    return {"psnr": Psnr()(mu, x_0).tolist()}


def timing_record(group, arm, axes, found, of, memory):
    """Seconds, the rate, its share of a dense product's, and the ratio to what ``of`` names."""
    rate = [found["flops"] / second for second in found["seconds"]]
    return Record(
        suite="fit speed", group=group, arm=arm, role="stage", budget=0, axes=axes,
        measures={
            of: Measure("x", True, "timing", found["ratios"], interval=median_ratio(found["ratios"], [1.0])[1:]),
            "ms": Measure("", False, "timing", [1e3 * second for second in found["seconds"]]),
            "GFLOP / s": Measure("", True, "timing", [value / 1e9 for value in rate]),
            "% of a dense product": Measure("", True, "timing", [100 * value / found["limit"] for value in rate]),
        },
        seconds={}, memory={"work": memory},
    )  # fmt: skip


def here(precision, way, device):
    """Skip the point if this device lacks the precision or the way to convolve."""
    if device.type != "cuda" and (precision != "fp32" or way == "implicit"):
        pytest.skip(f"{way} in {precision} is for CUDA")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def bench_convolution(shape, precision, way, asked_for, experiments, run_once, record):
    """One 3x3 convolution with weights of their own for each image, forward and backward."""
    device = experiments.device
    here(precision, way, device)
    call = {"shape": SHAPES[shape], "precision": precision, "way": way, "images": IMAGES[device.type], "device": device}
    entry = experiments.memo(time_convolution, call, run=run_once)
    axes = {"images": IMAGES[device.type], "precision": precision}
    record(timing_record(f"convolution, {shape}", way, axes, entry.value, "x grouped", entry.memory))


@pytest.mark.parametrize("fit", FITS)
def bench_iteration(fit, asked_for, experiments, run_once, record):
    """One iteration of fitting a skip net to each of many images, and the plain loop that fits one."""
    device, (way, precision, graph) = experiments.device, FITS[fit]
    here(precision, way, device)
    if graph and device.type != "cuda":
        pytest.skip("a graph is for CUDA")
    call = {"architecture": SkipNet, "way": way, "precision": precision, "graph": graph, "device": device}
    entry = experiments.memo(time_fit, call | {"images": IMAGES[device.type]}, run=run_once)
    axes = {"images": IMAGES[device.type]}
    record(timing_record("iteration of skip", fit, axes, entry.value, "x plain loop, images / s", entry.memory))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ["skip", "conv_decoder", "deep_decoder", "unet"])
def bench_fit_quality(architecture, precision, asked_for, experiments, run_once, record):
    """What a precision costs in PSNR: fits of the test photographs, inpainting, by the way that the table chooses."""
    device = experiments.device
    here(precision, "", device)
    photographs = experiments.fits.images("test").x_0.cpu()
    call = {
        "architecture": architecture_class(architecture), "way": "", "precision": precision,
        "iterations": 150, "device": device, "photographs": photographs,
    }  # fmt: skip
    found = experiments.memo(fit_photographs, call, run=run_once).value
    record(
        Record(
            suite="fit speed", group=f"quality of {architecture}, 150 iterations", arm=precision, role="stage",
            budget=0,
            axes={"images": len(photographs)}, measures={"psnr": Measure("dB", True, "quality", found["psnr"])},
            seconds={},
        )
    )  # fmt: skip
