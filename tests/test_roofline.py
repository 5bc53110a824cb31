"""The machine's limit is a rate of work that was really done."""

import contextlib
import time

import pytest
import torch

from dipddpm.measure.instruments.machine import sm_clock
from dipddpm.measure.instruments.roofline import QUEUED, peak_rate, repeated
from dipddpm.measure.instruments.timer import each, resolution


def test_repeated_runs_as_often_as_it_says():
    calls = []
    times = repeated(lambda: calls.append(time.sleep(0.002)), seconds=0.0, least=4, warmup=2)
    assert len(times) == 4 and len(calls) == 6 and min(times) >= 0.002
    assert len(repeated(lambda: time.sleep(0.002), seconds=0.02, least=1)) >= 5


def test_no_product_runs_above_the_limit():
    limit = peak_rate("cpu", torch.float32)
    a = torch.randn(256, 256)
    fastest = min(repeated(lambda: a @ a, seconds=0.05))
    assert 1e8 < 2 * 256**3 / fastest < 2 * limit  # twice: a limit measured on a busy machine is low


def test_each_execution_has_a_time_of_its_own():
    naps = iter([0.001, 0.004, 0.002])
    times = each(lambda: time.sleep(next(naps)), 3)
    assert [t >= nap for t, nap in zip(times, [0.001, 0.004, 0.002], strict=True)] == [True] * 3


def test_the_clock_says_how_fine_it_is():
    assert 0 < resolution("cpu") <= 1e-6 and resolution("cuda") == 0.5e-6
    assert sm_clock("cpu") is None


class Events:
    """A GPU that does nothing but tell the time: each piece of work takes a millisecond of it, and is queued."""

    def __init__(self, monkeypatch):
        self.now, self.waited = 0.0, 0
        events = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = events.now

            def elapsed_time(self, later):
                return 1e3 * (later.at - self.at)

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", self.wait)
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())

    def wait(self):
        self.waited += 1

    def work(self):
        self.now += 1e-3


def test_a_gpu_is_waited_for_a_few_times_and_not_for_each_execution(monkeypatch):
    gpu = Events(monkeypatch)
    assert each(gpu.work, 3, "cuda:0") == pytest.approx([1e-3] * 3) and gpu.waited == 2
    gpu.waited = 0
    times = repeated(gpu.work, seconds=2.0, device="cuda")
    assert times == pytest.approx([1e-3] * len(times)) and 2000 <= len(times) <= 2000 + QUEUED
    assert gpu.waited == 2 * (1 + 8 + 7), "rounds of 1, 1, 2, 4, ..., 128 executions, then of 256"
