"""The machine's limit is a rate of work that was really done."""

import time

import torch

from dipddpm.measure.instruments.roofline import peak_rate, repeated


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
