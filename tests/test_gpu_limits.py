"""What a GPU alone has: memory that really runs out, the peak of its allocator, a queue that a clock must wait for."""

import contextlib
import gc
import time

import pytest
import torch
from on_gpu import needs_cuda

from dipddpm.batches import SmallerBatch
from dipddpm.cli import main
from dipddpm.data import open_dataset, to_float
from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architecture_class
from dipddpm.fitting import fit_dip
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.timer import EVENT_RESOLUTION, each, synchronised
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import task
from dipddpm.training import Training, TrainingSettings, initial_network

pytestmark = [*needs_cuda, pytest.mark.usefixtures("limits")]

# Out of memory

COUNT = 128
MIB = 2**20


@contextlib.contextmanager
def at_most(more):
    """This process may reserve only ``more`` bytes beside what it holds; afterwards as much as before."""
    release()
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    read = getattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)  # older versions of torch have none
    before = read()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before)
        assert read() == before


def release():
    """Free what nothing refers to any more: optimisers and graphs lie in cycles."""
    gc.collect()
    torch.cuda.empty_cache()


def fit():
    rng = ImageRng(range(COUNT), "cuda")
    observation = task("inpaint").observe(photographs(), ImageRng(range(COUNT))).to("cuda")
    fitted = fit_dip(architecture_class("skip"), observation, rng, iterations=[0, 2])
    return torch.cat([fitted.last[0].flatten(), fitted.loss.flatten()]).cpu()


def sampling():
    observation = task("inpaint").observe(photographs(), ImageRng(range(COUNT))).to("cuda")
    return restore(
        open_denoiser("unet", "cuda", "fp32"), observation, None, Setting(2), ImageRng(range(COUNT), "cuda")
    )[0].cpu()


def update():
    """The loss of an update, and its gradient."""
    model = initial_network({"size": 32, "channels": (32, 64, 128)}, 0)
    one = Training(model, Schedule.linear(), TrainingSettings(9, batch=COUNT), device="cuda")
    loss = float(one.update(open_dataset("photo-patches").sample("train", COUNT)))
    return torch.cat([torch.tensor([loss]), *(p.grad.flatten().cpu() for p in one.model.parameters())])


def photographs():
    return to_float(open_dataset("photo-patches").sample("train", COUNT))


@pytest.mark.parametrize(
    ("stage", "share", "tolerance"),
    # Losses after two steps of Adam, whole ones where a gradient is rounding; a step from T - 1, which divides
    # by 1/158 (most of its peak is a workspace that cuDNN does without); a gradient that is a sum of slices.
    [(fit, 2, 2e-2), (sampling, 6, 2e-2), (update, 2, 1e-3)],
    ids=["fit", "sampling", "update"],
)
def test_a_gpu_that_is_really_short_of_memory(stage, share, tolerance, limits):
    stage()  # cuDNN and cuBLAS take what they keep
    release()
    before = torch.cuda.memory_allocated()
    with PeakMemory("cuda") as peak:
        expected = stage()
    # A library that finds no room for its workspace goes on without. The batch is halved as often as it must be.
    with at_most(peak.added // share), pytest.warns(SmallerBatch, match=f"out of memory with {COUNT} images at once"):
        found = stage()
    assert torch.allclose(found, expected, rtol=0, atol=tolerance)
    assert limits.lost > 0 and all(size < COUNT for size in limits.sizes.values())
    release()
    assert torch.cuda.memory_allocated() <= before + MIB, "a failed attempt is still in memory"


def test_memory_is_as_large_as_before_afterwards(limits):
    size = 64 * MIB
    with at_most(size // 2), pytest.raises(torch.OutOfMemoryError):
        torch.empty(size, dtype=torch.uint8, device="cuda")
    assert torch.empty(size, dtype=torch.uint8, device="cuda").numel() == size


# Peak memory


def test_the_peak_holds_what_was_allocated_and_freed():
    kept = torch.ones(8 * MIB, dtype=torch.uint8, device="cuda")
    with PeakMemory("cuda") as peak:
        block = torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")
        del block
    assert 64 * MIB <= peak.added < 72 * MIB, "what was there before is no part of it"
    del kept


def test_work_that_allocates_nothing_adds_nothing():
    block = torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")
    with PeakMemory("cuda") as peak:
        block.add_(1)
    assert peak.added < MIB


# Time

SIDE, PRODUCTS = 4096, 30


@pytest.fixture
def queue():
    """Fills the queue with matrix products: 4 TFLOP, about a tenth of a second in float32."""
    a, out = torch.randn(SIDE, SIDE, device="cuda"), torch.empty(SIDE, SIDE, device="cuda")

    def fill():
        for _ in range(PRODUCTS):
            torch.mm(a, a, out=out)

    fill()
    torch.cuda.synchronize()
    return fill


def test_the_clock_waits_for_the_queue(queue):
    started = synchronised()
    queue()
    launched = time.perf_counter() - started
    waited = synchronised() - started
    assert waited > 0.02 and waited > 3 * launched, "to launch them takes a millisecond"
    assert synchronised() - (started + waited) < 0.5 * waited, "the queue is empty, so there is nothing to wait for"


def test_events_tell_the_time_of_the_clock(queue):
    started = synchronised()
    times = each(queue, 2, "cuda")
    waited = synchronised() - started
    assert len(times) == 2 and sum(times) == pytest.approx(waited, rel=0.2)
    assert max(times) < 2 * min(times)


def test_a_short_execution_costs_less_than_waiting_for_it():
    x = torch.zeros(1, device="cuda")
    for _ in range(100):  # start-up
        x.add_(1)
    queued = sorted(each(lambda: x.add_(1), 1000, "cuda"))[500]

    def waited_for():
        started = synchronised()
        x.add_(1)
        return synchronised() - started

    assert EVENT_RESOLUTION <= queued < sorted(waited_for() for _ in range(1000))[500]


def test_profile_on_a_gpu(capfd):
    assert main(["profile", "evaluation", "--device", "cuda", "--batch", "8", "--rows", "2"]) == 0
    out, _ = capfd.readouterr()
    assert "(CUDA events) resolves 0.5 microseconds" in out and torch.cuda.get_device_name() in out
